//! `GET /health`: the process answers. Needs no key and looks at nothing.

pub(super) async fn show() -> &'static str {
    "ok"
}
