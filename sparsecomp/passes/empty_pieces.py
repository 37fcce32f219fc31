"""What narrowing leaves of a split: pieces of size zero."""

import operator

from torch import fx

from sparsecomp.program import Program


def drop_empty_pieces(program: Program, node: fx.Node) -> bool:
    """A split has no pieces that are empty and not read; a single piece is the whole."""
    source, sizes, *_ = node.args
    assert isinstance(source, fx.Node) and isinstance(sizes, list | tuple)
    for reader in [user for user in node.users if user.target is operator.getitem and not user.users]:
        program.graph.erase_node(reader)
    read = {user.args[1] for user in node.users}
    kept = [index for index, size in enumerate(sizes) if size != 0 or index in read]
    if 1 < len(kept) == len(sizes):
        return False
    for user in list(node.users):
        if len(kept) == 1:
            user.replace_all_uses_with(source)
            program.graph.erase_node(user)
        else:
            user.args = (node, kept.index(int(str(user.args[1]))))
    if len(kept) == 1:
        program.graph.erase_node(node)
    else:
        node.args = (source, [sizes[index] for index in kept], *node.args[2:])
    return True
