//! Histories of other systems, recorded in their own formats.

pub mod key_value;
pub mod register;

use std::collections::BTreeMap;

use super::model::{End, Model, Operation, OperationOf};

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, found {found}")]
pub struct Fault {
    /// Its number; the first is 1.
    pub line: usize,
    /// What should stand there.
    pub expected: &'static str,
    /// What stands there.
    pub found: String,
}

impl Fault {
    pub(super) fn new(line: usize, expected: &'static str, found: impl Into<String>) -> Self {
        Self { line, expected, found: found.into() }
    }
}

/// A recorded history: the operations of each object. Positions in it are numbers of lines.
#[derive(Debug)]
pub struct Recording<M: Model> {
    objects: BTreeMap<String, Vec<OperationOf<M>>>,
    /// For each process that waits for an answer, the object and the operation.
    waiting: BTreeMap<u64, (String, usize)>,
}

impl<M: Model> Default for Recording<M> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), waiting: BTreeMap::new() }
    }
}

impl<M: Model> Recording<M> {
    /// The operations of each object, in the order of their calls.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &[OperationOf<M>])> + use<'_, M> {
        self.objects.iter().map(|(name, operations)| (name.as_str(), operations.as_slice()))
    }

    fn call(
        &mut self,
        (line, text): (usize, &str),
        process: u64,
        object: &str,
        input: M::Input,
    ) -> Result<(), Fault> {
        let operations = self.objects.entry(object.to_owned()).or_default();
        let waiting = (object.to_owned(), operations.len());
        operations.push(Operation { input, called_at: line, end: End::Unknown });
        match self.waiting.insert(process, waiting) {
            None => Ok(()),
            Some(_) => Err(Fault::new(line, "the answer that this process waits for", text)),
        }
    }

    /// The operation that `process` waits for, on `object`; it waits no longer.
    fn answered(
        &mut self,
        (line, text): (usize, &str),
        process: u64,
        object: &str,
    ) -> Result<&mut OperationOf<M>, Fault> {
        let fault = || Fault::new(line, "an answer to what this process last invoked", text);
        let (waits_for, number) = self.waiting.remove(&process).ok_or_else(fault)?;
        let operations = self.objects.get_mut(&waits_for).filter(|_| waits_for == object);
        operations.and_then(|operations| operations.get_mut(number)).ok_or_else(fault)
    }
}

/// The lines of `text` that hold anything, numbered.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty())
}
