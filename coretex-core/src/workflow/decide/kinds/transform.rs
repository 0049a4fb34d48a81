//! `transform`: a value, made from values.

use super::super::Machine;
use crate::value::Template;

impl Machine<'_> {
    pub(super) fn begin_transform(&mut self, slot: usize, output: &Template) {
        let Some(output) = self.render(slot, Some(output), "output") else { return };
        self.succeed_with(slot, output.unwrap_or_default());
    }
}
