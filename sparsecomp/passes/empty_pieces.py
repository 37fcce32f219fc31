"""What narrowing leaves of a split: pieces of size zero."""

from torch import fx

from sparsecomp.program import Program


def drop_empty_pieces(program: Program, node: fx.Node) -> bool:
    """A split has no pieces that are empty and not read; a single piece is the whole."""
    source, sizes, *_ = node.args
    assert isinstance(source, fx.Node) and isinstance(sizes, list | tuple)
    read = {reader.args[1] for reader in node.users if reader.users}
    kept = [index for index, size in enumerate(sizes) if size != 0 or index in read]
    if 1 < len(kept) == len(sizes):
        return False
    if len(kept) == 1:
        for reader in list(node.users):
            reader.replace_all_uses_with(source)
            program.graph.erase_node(reader)
        program.graph.erase_node(node)
        return True
    places: dict[object, int] = {index: place for place, index in enumerate(kept)}
    for reader in list(node.users):
        if reader.args[1] in places:
            reader.args = (node, places[reader.args[1]])
        else:
            program.graph.erase_node(reader)
    node.args = (source, [sizes[index] for index in kept], *node.args[2:])
    return True
