"""CLIP's towers as retrieval over frames and words wants them; open_clip's own encoders are the judge."""

from typing import Any

import pytest
import torch

from avs_cli.core.models.clip.temporal import Temporal
from avs_cli.core.models.clip.towers import Towers, fill, named, network_of, shifted, tokenise
from avs_cli.errors import MismatchError, SpecError, UnknownName


@pytest.fixture(scope="module")
def network() -> Any:
    """A CLIP of two blocks of 64 numbers: pictures of 2 x 2 patches, 7 words, vectors of 6 numbers."""
    import open_clip

    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(2, 64, patch_size=8, image_size=16)
    text = open_clip.CLIPTextCfg(7, 30, width=64, heads=1, layers=2)
    return open_clip.CLIP(6, vision, text, quick_gelu=True).eval()


def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_frames_and_sentences_are_those_of_open_clip(network: Any) -> None:
    towers, ids = Towers(network), torch.tensor([[28, 3, 29, 0, 0, 0, 0], [28, 5, 6, 7, 8, 9, 29]])
    frames = towers.frames(pixels())
    torch.testing.assert_close(frames.flatten(0, 1), network.encode_image(pixels().flatten(0, 1)))
    torch.testing.assert_close(towers.tokens(pixels())[:, :, 0], frames)
    sentences, words = towers.texts(ids)
    torch.testing.assert_close(sentences, network.encode_text(ids))
    assert towers.dim == 6
    assert words.shape == (2, 7, 6)
    # No word sees what comes after it, so that fewer positions give the same.
    torch.testing.assert_close(towers.texts(ids[:1, :4])[1], words[:1, :4])


def test_shifted_patches_come_from_the_neighbouring_frames() -> None:
    # Three frames of a frame's own token and 49 patches; a token's number says its frame, then its place.
    tokens = torch.tensor([[100 * frame + place for place in range(50)] for frame in (1, 2, 3)]).view(3, 50, 1)
    first, second, third = shifted(tokens, 3).squeeze(-1).tolist()
    back, ahead = range(1, 50, 7), range(4, 50, 7)
    assert [place for place in range(50) if second[place] < 200] == list(back)
    assert [place for place in range(50) if second[place] >= 300] == list(ahead)
    assert second[8] == 108
    assert second[11] == 311
    assert [place for place in range(50) if first[place] >= 200] == list(ahead)
    assert [place for place in range(50) if third[place] < 300] == list(back)


@torch.inference_mode()
def test_the_shift_changes_what_follows_it_and_stays_within_a_video(network: Any) -> None:
    plain, moved = Towers(network), Towers(network, shifted=(1,))
    both, alone = moved.frames(pixels()), moved.frames(pixels()[1:])
    torch.testing.assert_close(both[1:], alone)
    assert not torch.allclose(both, plain.frames(pixels()), atol=1e-4)
    still = pixels()[:, :1].expand(-1, 3, -1, -1, -1)
    torch.testing.assert_close(moved.frames(still), plain.frames(still))


def test_weights_say_what_network_they_need(network: Any) -> None:
    state = network.state_dict()
    built = network_of({key: value.half() for key, value in state.items()})
    assert built.positional_embedding.dtype == torch.float32
    for key, value in built.state_dict().items():
        torch.testing.assert_close(value, state[key].half().float())
    with pytest.raises(MismatchError, match="not the weights of a CLIP"):
        network_of({"visual.layer1.0.conv1.weight": torch.ones(1)})
    with pytest.raises(MismatchError, match=r"lack ln_final\.bias"):
        network_of({key: value for key, value in state.items() if key != "ln_final.bias"})
    with pytest.raises(MismatchError, match=r"logit_scale is 2 x 3, where one number"):
        fill(network, {**state, "logit_scale": torch.ones(2, 3)}, "CLIP")


def test_a_header_starts_from_the_text_tower(network: Any) -> None:
    header, state = Temporal(64, positions=9, layers=2), network.state_dict()
    rest = header.positions[7:].detach().clone()
    header.start_from_text(state)
    torch.testing.assert_close(header.positions[:7], state["positional_embedding"])
    torch.testing.assert_close(header.positions[7:], rest)
    for place in (0, 1):
        for key, value in header.blocks[place].state_dict().items():
            torch.testing.assert_close(value, state[f"transformer.resblocks.{place}.{key}"])
    with pytest.raises(MismatchError, match="text block 2 lack"):
        Temporal(64, layers=3).start_from_text(state)
    with pytest.raises(MismatchError, match="text block 0: "):
        Temporal(32, layers=1).start_from_text(state)


def test_texts_are_cut_to_the_positions_and_keep_their_end() -> None:
    ids = tokenise(["A DOG", "dog " * 99], 6)
    start, end, dog = 49406, 49407, int(ids[1, 1])
    assert ids.shape == (2, 6)
    assert ids[0].tolist() == [start, 320, dog, end, 0, 0]
    assert ids[1].tolist() == [start, dog, dog, dog, dog, end]


def test_only_plain_pairs_of_transformers_are_named() -> None:
    with torch.device("meta"):
        assert Towers(named("ViT-B-16-quickgelu")).dim == 512
    for name in ("RN50", "ViT-SO400M-14-SigLIP", "coca_ViT-B-32", "ViT-L-14-CLIPA"):
        with pytest.raises(SpecError, match="not a plain pair"):
            named(name)
    with pytest.raises(UnknownName, match="did you mean 'ViT-B-32'"):
        named("ViT-B32")
