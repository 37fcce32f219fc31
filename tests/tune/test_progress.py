from sparsecomp.tune.progress import bar
from sparsecomp.tune.tuner import Progress

STATE = Progress(done=3, total=12, gain=1.25, layer="encoder[0]")


def test_the_bar_shows_the_gain_so_far(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with bar(True) as observe:
        observe(STATE)
    shown = capsys.readouterr().err
    assert "1.25x so far, encoder[0]" in shown
    assert "3/12" in shown


def test_no_bar_where_nobody_looks(capsys):
    for shown in (False, None):  # standard error is no terminal here
        with bar(shown) as observe:
            observe(STATE)
    assert "so far" not in capsys.readouterr().err
