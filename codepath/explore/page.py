"""The page of `codepath explore`, built on Gradio: an image, its paths, a switch for each path.

It answers on this machine alone, asks nothing of other hosts (a content security policy forbids the
browser to), and gives out no file but the images that come along.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr  # it reads the environment

from codepath.core.errors import UserError
from codepath.core.markdown import escaped
from codepath.core.photos import MOST_BYTES, Photo
from codepath.explore import view
from codepath.explore.samples import Sample, samples
from codepath.parts.explanation import Explainer

HOST = "127.0.0.1"
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
_KEPT_SECONDS = 600
"""How long an upload stays in Gradio's folder."""


class _OwnHostOnly(BaseHTTPMiddleware):
    """Tells browsers to load nothing from other hosts."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


class Page:
    """The page of one network."""

    def __init__(self, explainer: Explainer, name: str) -> None:
        self.explainer, self.name = explainer, name
        self.samples = _fitting(samples(), explainer)
        self.coded = tuple(explainer.model.coded_blocks)

    def blocks(self) -> gr.Blocks:
        """The page's layout and what happens on it."""
        paths = self.explainer.model.paths
        with gr.Blocks(
            title="codepath explore",
            analytics_enabled=False,
            delete_cache=(_KEPT_SECONDS, _KEPT_SECONDS),
        ) as page:
            chosen = gr.State(None)
            gr.Markdown(
                "# The path that an image takes\n"
                f"**{escaped(self.name)}**. {self._about()} Pick an image, or drop one of your "
                "own. Then switch paths off, and see what the network says without them."
            )
            gallery = self._gallery()
            with gr.Row():
                with gr.Column(min_width=300):
                    upload = gr.File(
                        label=f"Your image, up to {MOST_BYTES // 10**6} MB",
                        type="binary",
                        height=140,
                    )
                    everything_on = gr.Button("Switch all paths on", size="sm")
                with gr.Column(min_width=300, scale=3):
                    said = gr.HTML(view.line("No image is chosen yet."))
            gr.HTML(view.legend())
            drawn, switches = self._path_switches()
            outputs = [said, *drawn]
            gallery.select(
                self._pick, None, chosen, show_progress="hidden", api_visibility="private"
            )
            upload.upload(
                self._read,
                upload,
                [chosen, upload],
                show_progress="hidden",
                api_visibility="private",
            )
            changes = [chosen.change, *(group.change for group in switches)]
            gr.on(
                changes,
                self.show,
                [chosen, *switches],
                outputs,
                show_progress="hidden",
                api_visibility="private",
            )
            everything_on.click(
                lambda: [list(range(paths))] * len(switches),
                None,
                switches,
                show_progress="hidden",
                api_visibility="private",
            )
        return page

    def _gallery(self) -> gr.Gallery:
        """The images that come along."""
        return gr.Gallery(
            [(str(sample.path), sample.truth) for sample in self.samples],
            label="Images that come along",
            columns=10,
            height=230,
            object_fit="cover",
            allow_preview=False,
            interactive=False,
            buttons=[],
            visible=bool(self.samples),
            elem_classes="cp-samples",
        )

    def _path_switches(self) -> tuple[list[gr.HTML], list[gr.CheckboxGroup]]:
        """A drawing of every coded block, and a switch for each of its paths."""
        paths = self.explainer.model.paths
        drawn: list[gr.HTML] = []
        switches: list[gr.CheckboxGroup] = []
        for start in range(0, len(self.coded), 2):
            with gr.Row():
                for number in self.coded[start : start + 2]:
                    with gr.Column(min_width=300):
                        drawn.append(gr.HTML(""))
                        switches.append(
                            gr.CheckboxGroup(
                                [(str(n), n) for n in range(paths)],
                                value=list(range(paths)),
                                label=f"Paths of block {number} that act",
                                elem_classes="cp-switches",
                            )
                        )
        return drawn, switches

    def _about(self) -> str:
        model, facts = self.explainer.model, self.explainer.facts
        schemes = ", ".join(
            f"{block.active} of {block.paths} in block {number}"
            for number, block in model.coded_blocks.items()
        )
        return (
            f"It knows {len(facts.class_names)} classes ({escaped(_some(facts.class_names))}). "
            f"Every class has its own paths: {schemes}."
        )

    def _pick(self, event: gr.SelectData) -> dict[str, Any] | str:
        sample = self.samples[int(event.index)]
        return self.photo(sample.path.read_bytes(), sample.path.name, sample.truth)

    def _read(self, data: bytes | None) -> tuple[dict[str, Any] | str | None, None]:
        """What was uploaded, and an empty field for the next image."""
        return None if data is None else self.photo(data, "your image", None), None

    def photo(self, data: bytes, name: str, truth: str | None) -> dict[str, Any] | str:
        """The image as the network takes it, or the line that says why it cannot be taken."""
        try:
            photo = self.explainer.read(data, name)
        except UserError as error:
            return str(error)
        return {"photo": photo, "name": name, "truth": truth}

    def show(self, chosen: dict[str, Any] | str | None, *on: Sequence[int]) -> list[str]:
        """HTML of the summary and of every coded block.

        Args:
            chosen: of `photo`; None: no image yet.
            on: of every coded block, the paths that act, from 0.
        """
        nothing = [""] * len(self.coded)
        if not isinstance(chosen, dict):
            line = (
                view.line(chosen, is_error=True) if chosen else view.line("No image is chosen yet.")
            )
            return [line, *nothing]
        everything = range(self.explainer.model.paths)
        off = {
            number: set(everything) - set(some) for number, some in zip(self.coded, on, strict=True)
        }
        empty = [number for number, gone in off.items() if len(gone) == len(everything)]
        if empty:
            line = view.line(f"Block {empty[0]} needs a path: switch one on.", is_error=True)
            return [line, *nothing]
        photo: Photo = chosen["photo"]
        found = self.explainer.explain(photo, chosen["name"], chosen["truth"], off=off)
        drawn = [view.block(one, found, off[one.block]) for one in found.blocks]
        return [view.summary(found, self.explainer.facts.class_names), *drawn]


def _fitting(some: Sequence[Sample], explainer: Explainer) -> list[Sample]:
    """The samples whose classes the network knows; none for other networks."""
    known = set(explainer.facts.class_names)
    return [sample for sample in some if sample.truth in known]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def serve(run_dir: Path, name: str, port: int, browser: bool, say: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        run_dir: an evaluated run.
        name: what the page calls the network.
        port: 0 for the first free one from 7860 on.
        browser: whether to open it in a browser.
        say: takes the line with the page's address.

    Raises UserError as `Explainer` does, and for a port that is taken.
    """
    page = Page(Explainer(run_dir), name).blocks()
    try:
        _, address, _ = page.launch(
            server_name=HOST,
            server_port=port or None,
            inbrowser=browser,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=MOST_BYTES,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            strict_cors=True,
            theme=gr.themes.Default(
                primary_hue="blue",
                font=["system-ui", "sans-serif"],
                font_mono=["ui-monospace", "monospace"],
            ),
            css=view.style(),
            app_kwargs={
                "middleware": [
                    Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
                    Middleware(_OwnHostOnly),
                ],
                "docs_url": None,
                "redoc_url": None,
            },
        )
    except OSError:
        taken = f"port {port} is taken" if port else "no port from 7860 on is free"
        raise UserError(f"{taken}: choose another one with --port") from None
    say(f"{address} (Ctrl-C ends it)")
    page.block_thread()
