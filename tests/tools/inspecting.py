"""What the tests of programs that look into a run share."""

from mn_jax.tools import embed, evaluate, saliency, slide_map

PROGRAMS = {
  "evaluate": evaluate,
  "saliency": saliency,
  "embed": embed,
  "slide_map": slide_map,
}


def refuse(done, name, text):
  code, out, err = done
  assert (code, out) == (2, "")
  assert err.startswith(f"{name}: ")
  assert err.count("\n") == 1
  assert text in err


def content(folder):
  return {
    str(path.relative_to(folder)): path.stat().st_mtime_ns
    for path in sorted(folder.rglob("*"))
  }
