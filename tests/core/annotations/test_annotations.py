from __future__ import annotations

import pickle

import pytest

from flowyard.annotations import BaseAnnotation, Quote, allow_failure, annotate, peel, quote, unmapped


@pytest.mark.parametrize("mark", [unmapped, allow_failure, quote])
def test_an_annotation_gives_its_value_back_and_takes_another(mark):
    annotation = mark([1])
    assert annotation.unwrap() == [1]
    assert type(annotation.rewrap(2)) is mark
    assert annotation.rewrap(2).unwrap() == 2


def test_annotations_are_equal_by_type_and_value():
    assert unmapped(1) == unmapped(1)
    assert unmapped(1) != unmapped(2)
    assert unmapped(1) != allow_failure(1)
    assert unmapped(1) != 1
    assert len({unmapped(1), unmapped(1), quote(1)}) == 2


def test_quote_unquotes_and_keeps_its_old_name():
    assert Quote is quote
    assert quote({"a": 1}).unquote() == {"a": 1}


def test_an_annotation_is_not_iterable_so_that_map_does_not_take_it_for_data():
    assert not hasattr(unmapped([1, 2]), "__iter__")


def test_nested_annotations_keep_all_their_meanings():
    value, marks = peel(unmapped(allow_failure(quote("x"))))
    assert value == "x"
    assert marks == (unmapped, allow_failure, quote)
    assert annotate(value, marks) == unmapped(allow_failure(quote("x")))


def test_a_plain_value_has_no_marks():
    assert peel(5) == (5, ())
    assert annotate(5, ()) == 5


def test_annotations_survive_pickling():
    annotation = unmapped(allow_failure([1, 2]))
    assert pickle.loads(pickle.dumps(annotation)) == annotation


def test_a_user_can_derive_an_annotation():
    class special(BaseAnnotation[int]):
        pass

    assert special(1).rewrap(2) == special(2)
    assert repr(special(1)) == "special(1)"
