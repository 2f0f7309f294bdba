"""Settings that a command line gives, told from those of files."""

from potstill.config.typed import typed_in


def test_a_value_counts_as_typed_only_as_it_was_typed():
    typed = typed_in(("+callbacks.a={dirpath: /x, n: 1}", "++logger.b.name='/y z'", "seed=1,2"))
    assert typed.names(("callbacks", "a", "dirpath"), "/x")
    assert not typed.names(("callbacks", "a", "dirpath"), "/z")  # a file's sweep has changed it
    assert not typed.names(("callbacks", "a", "filename"), "/x")
    assert typed.names(("logger", "b", "name"), "/y z")
    assert typed.names(("seed",), 2)


def test_every_value_of_a_sweep_is_typed():
    typed = typed_in(("name=a,b", "teacher.store_dir=choice('/x',/y)", "alpha=interval(0,1)"))
    assert typed.values[("name",)] == {"a", "b"}
    assert typed.values[("teacher", "store_dir")] == {"/x", "/y"}


def test_an_option_is_a_file_and_types_nothing_within_it():
    typed = typed_in(("logger=mine", "model@module.student=x", "~callbacks.a", "data=glob(*)"))
    assert set(typed.values) == {("logger",)}
    assert not typed.names(("logger", "a", "save_dir"), "/x")
