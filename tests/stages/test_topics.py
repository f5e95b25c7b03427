"""Topics and their vectors: what is read, what is encoded, and what a head gets of each wording."""

from pathlib import Path

import numpy as np
import pytest
from stores import store

from avs_cli.errors import FormatError, MismatchError, SpecError
from avs_cli.io.store.galleries import Galleries
from avs_cli.io.store.reader import open_gallery
from avs_cli.stages import topic_texts, topics
from avs_cli.types import Topic, Variant

# Reading


def test_topics_come_from_a_file_a_list_or_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("661 a glider\n662 a boat\n")
    listed = [Topic("661", "a glider"), Topic("662", "a boat")]
    for given in (str(path), path, listed, {"661": "a glider", "662": "a boat"}):
        assert topic_texts.read(given) == listed


def test_topics_that_a_run_could_not_tell_apart_are_refused() -> None:
    with pytest.raises(SpecError, match="two topics have the id '661'"):
        topic_texts.read([Topic("661", "a glider"), Topic("661", "a boat")])
    with pytest.raises(SpecError, match="no topics"):
        topic_texts.read({})
    with pytest.raises(OSError, match="nosuch"):
        topic_texts.read("nosuch.txt")


def test_the_field_says_what_of_a_topic_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("661\ta glider\tAny kind of glider.\n662\ta boat\n")
    assert [topic.query for topic in topic_texts.read(path, "query")] == ["a glider", "a boat"]
    assert [topic.query for topic in topic_texts.read(path, "both")] == ["a glider Any kind of glider.", "a boat"]
    with pytest.raises(MismatchError, match=r"t\.tsv: topic 662 has no narrative"):
        topic_texts.read(path, "narrative")
    with pytest.raises(MismatchError, match=r"^topic 662 has no narrative"):
        topic_texts.read({"662": "a boat"}, "narrative")
    path.write_text("661\ta glider\tAny kind of glider.\n")
    assert [topic.query for topic in topic_texts.read(path, "narrative")] == ["Any kind of glider."]


def test_wordings_stay_when_topics_without_a_narrative_are_read_by_both(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("661\t0.5\ta glider\n661\t1\ta paraglider\n")
    plain, both = (topic_texts.read(tmp_path / "t.tsv", field) for field in ("query", "both"))
    assert [len(topic.variants) for topic in plain] == [2]
    assert both == plain


def test_captions_have_no_narratives(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("v1#enc#0 a dog runs\nv2#enc#0 a cat sleeps\n")
    assert [topic.id for topic in topic_texts.read(tmp_path / "captions.txt")] == ["v1#enc#0", "v2#enc#0"]
    with pytest.raises(SpecError, match="captions have no narratives"):
        topic_texts.read(tmp_path / "captions.txt", "both")


# Wordings and example images


def test_the_absolute_weights_of_a_topics_wordings_sum_to_one() -> None:
    boat = Topic("662", "a boat", variants=(Variant(3.0, "a boat"), Variant(-1.0, "a car")))
    wordings = topics.all_wordings([Topic("661", "a glider"), boat])
    assert wordings.texts == ["a glider", "a boat", "a car"]
    assert (wordings.ids, wordings.owner) == (["661", "662", "662"], [0, 1, 1])
    assert wordings.weights == [1.0, 0.75, -0.25]
    with pytest.raises(MismatchError, match="topic 1: all wordings have weight 0"):
        topics.all_wordings([Topic("1", "x", variants=(Variant(0.0, "x"),))])


def test_heads_take_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(MismatchError, match=r"a\.jpg is an image, and heads take text only"):
        topics.all_wordings([Topic("661", str(tmp_path / "a.jpg"))])


def test_a_missing_example_is_named_with_its_topic_where_there_are_several() -> None:
    missing = Topic("662", "gone.jpg")
    with pytest.raises(MismatchError, match=r"^t\.txt: topic 662: gone\.jpg: no such image"):
        topics.check_images([missing], "t.txt")
    with pytest.raises(MismatchError, match=r"^topic 662: gone\.jpg: no such image"):
        topics.check_images([Topic("661", "a dog"), missing])
    with pytest.raises(MismatchError, match=r"^gone\.jpg: no such image"):
        topics.check_images([missing])
    topics.check_images([Topic("661", "a dog at 3.30 in an old movie.mp4")])


# Vectors


def test_each_wording_has_the_vector_of_its_own_text() -> None:
    encoder = topics.load_encoder("minilm")
    one, two, again = topics.encode_wordings(encoder, "minilm", ["a dog", "a red car", "a dog"])
    assert one.shape == (encoder.dim,)
    assert np.allclose(one, again, atol=1e-6) and not np.allclose(one, two, atol=1e-2)
    assert topics.encode_wordings(encoder, "minilm", []) == []
    words = topics.load_encoder("minilm:output=words")
    assert [vectors.shape for vectors in topics.encode_wordings(words, "minilm", ["a dog", "a red car"])] == [
        (2, words.dim),
        (3, words.dim),
    ]


def test_a_topics_wordings_are_blended_at_unit_length_by_their_weights() -> None:
    encoder = topics.load_encoder("minilm")
    dog, car = (vector / np.linalg.norm(vector) for vector in encoder.encode_text(["a dog", "a car"]))
    both = Topic("1", "a dog", variants=(Variant(2.0, "a dog"), Variant(-1.0, "a car")))
    (blended,) = topics.encode_topics(encoder, "minilm", [both])
    assert blended == pytest.approx(2 * dog - car, abs=1e-6)
    words = topics.load_encoder("minilm:output=words")
    with pytest.raises(MismatchError, match="topic 1 has several wordings, which cannot be combined"):
        topics.encode_topics(words, "minilm:output=words", [both])


def test_stored_topics_come_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    name = str(store(tmp_path / "topics.h5", "tiny", {"661": [0, 1], "662": [7, 0]}))
    with open_gallery([str(store(tmp_path / "gallery.h5", "tiny", {"a": [3, 4]}))]) as gallery:
        ids, vectors = topics.stored(name, gallery, ["662", "661"])
        assert (ids, vectors.tolist()) == (["662", "661"], [[7, 0], [0, 1]])
        assert topics.stored(name, gallery).ids == ["661", "662"]
        with pytest.raises(MismatchError, match="has no item '9'"):
            topics.stored(name, gallery, ["9"])
        other = str(store(tmp_path / "other.h5", "tiny", {"661": [0, 1]}, {"model": "large", "spec": "tiny"}))
        with pytest.raises(MismatchError, match=r'other\.h5 and .*model is "large" and "tiny"; encode the topics with'):
            topics.stored(other, gallery)
        with pytest.raises(MismatchError, match="topic 661: zero vector"):
            topics.stored(str(store(tmp_path / "zero.h5", "tiny", {"661": [0, 0]})), gallery)


def test_a_gallery_without_a_text_model_asks_for_vectors(tmp_path: Path) -> None:
    store(tmp_path / "g.h5", "tiny", {"a": [1, 1]}, {})
    refusal = "no text model in its provenance; give --vectors"
    with open_gallery([str(tmp_path / "g.h5")]) as gallery, pytest.raises(MismatchError, match=refusal):
        topics.encoded([Topic("1", "a dog")], gallery)


def test_weights_of_a_feature_that_no_head_encodes_are_refused(tmp_path: Path) -> None:
    with Galleries([]) as stores, pytest.raises(SpecError, match="--weights clip=…: no text feature 'clip' is encoded"):
        topics.text_features([], topics.all_wordings([Topic("1", "a dog")]), stores, weights={"clip": "x"})


def test_a_field_is_that_of_the_stores_unless_they_differ() -> None:
    made = {"spec": "clip", "weights": "x"}
    assert topics.field_of({}, None) == "query"
    assert topics.field_of({"a.h5": {**made, "field": "both"}}, None) == "both"
    assert topics.field_of({"imported.h5": {}}, "narrative") == "narrative"
    with pytest.raises(MismatchError, match=r"a\.h5 encodes the topics' field 'query' and b\.h5 'both'"):
        topics.field_of({"a.h5": made, "b.h5": {**made, "field": "both"}}, None)
    with pytest.raises(MismatchError, match="search with --field both"):
        topics.field_of({"b.h5": {**made, "field": "both"}}, "query")


def test_a_file_that_is_no_topics_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("661\n")
    with pytest.raises(FormatError, match=r"t\.txt"):
        topic_texts.read(tmp_path / "t.txt")
