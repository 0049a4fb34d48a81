//! What functions take and give, as far as it is known before the run.

use super::ast::Function;
use super::types::Types;

/// The types of the operands, the last of which stands for all that follow, and the types of the result.
pub(super) fn signature(function: Function, operands: usize) -> (&'static [Types], Types) {
    use Function as F;
    use Types as T;
    const ANY: &[Types] = &[T::ANY];
    const TEXT: &[Types] = &[T::TEXT];
    const NUMBER: &[Types] = &[T::NUMBER];
    const LIST: &[Types] = &[T::LIST];
    const MAP: &[Types] = &[T::MAP];
    const TEXT_AND_NUMBERS: &[Types] = &[T::TEXT, T::NUMBER];
    const LIST_AND_NUMBERS: &[Types] = &[T::LIST, T::NUMBER];
    const SIZED: &[Types] = &[Types(T::TEXT.0 | T::LIST.0 | T::MAP.0)];
    const TEXT_OR_LIST: &[Types] = &[Types(T::TEXT.0 | T::LIST.0), T::ANY, T::NUMBER];
    const MAPS: &[Types] = &[Types(T::MAP.0 | T::NULL.0)];
    const LIST_OR_NUMBER: &[Types] = &[Types(T::LIST.0 | T::NUMBER.0)];
    const ORDERED: &[Types] = &[Types(T::NUMBER.0 | T::TEXT.0 | T::BOOL.0 | T::TIME.0 | T::SPAN.0)];
    const TO_TIME: &[Types] = &[Types(T::TEXT.0 | T::NUMBER.0 | T::TIME.0)];
    const TO_SPAN: &[Types] = &[Types(T::TEXT.0 | T::NUMBER.0 | T::SPAN.0)];
    const TIME: &[Types] = &[T::TIME, T::TEXT];
    const TIME_OR_SPAN: &[Types] = &[Types(T::TIME.0 | T::SPAN.0), T::TEXT];
    const TO_INT: &[Types] = &[Types(T::NUMBER.0 | T::TEXT.0 | T::TIME.0 | T::SPAN.0)];
    const TO_NUMBER: &[Types] = &[Types(T::NUMBER.0 | T::TEXT.0)];
    const TO_TEXT: &[Types] = &[Types(T::NUMBER.0 | T::TEXT.0 | T::BOOL.0 | T::TIME.0 | T::SPAN.0)];
    const TO_BOOL: &[Types] = &[Types(T::BOOL.0 | T::TEXT.0)];
    match function {
        F::Size => (SIZED, T::NUMBER),
        F::Length => (ANY, T::NUMBER),
        F::Contains | F::StartsWith | F::EndsWith | F::Matches => (TEXT, T::BOOL),
        F::LowerAscii | F::UpperAscii | F::Trim | F::Encode64 | F::Decode64 | F::Sha256 => (TEXT, T::TEXT),
        F::Split => (&[T::TEXT, T::TEXT, T::NUMBER], T::LIST),
        F::Join => (&[T::LIST, T::TEXT], T::TEXT),
        F::Replace => (&[T::TEXT, T::TEXT, T::TEXT, T::NUMBER], T::TEXT),
        F::CharAt | F::Substring => (TEXT_AND_NUMBERS, T::TEXT),
        F::IndexOf => (TEXT_OR_LIST, T::NUMBER),
        F::LastIndexOf => (TEXT, T::NUMBER),
        F::Reverse => (TEXT_OR_LIST, T::TEXT | T::LIST),
        F::First | F::Last | F::Dyn | F::Default | F::OrValue => (ANY, T::ANY),
        F::Slice | F::Flatten => (LIST_AND_NUMBERS, T::LIST),
        F::Sort | F::Distinct => (LIST, T::LIST),
        F::Range => (NUMBER, T::LIST),
        F::Sum => (LIST, T::NUMBER | T::SPAN),
        F::Avg => (LIST, T::NUMBER),
        F::Min | F::Max if operands == 1 => (LIST_OR_NUMBER, ORDERED_RESULT),
        F::Min | F::Max => (ORDERED, ORDERED_RESULT),
        F::SetContains | F::SetEquivalent | F::SetIntersects => (LIST, T::BOOL),
        F::Keys | F::Values => (MAP, T::LIST),
        F::Merge => (MAPS, T::MAP),
        F::Abs | F::Ceil | F::Floor | F::Round | F::Trunc | F::Sign => (NUMBER, T::NUMBER),
        F::Json => (TEXT, T::ANY),
        F::ToJson => (ANY, T::TEXT),
        F::Time => (TO_TIME, T::TIME),
        F::Span => (TO_SPAN, T::SPAN),
        F::FullYear | F::Month | F::Date | F::DayOfMonth | F::DayOfWeek | F::DayOfYear => (TIME, T::NUMBER),
        F::Hours | F::Minutes | F::Seconds | F::Milliseconds => (TIME_OR_SPAN, T::NUMBER),
        F::ToInt => (TO_INT, T::NUMBER),
        F::ToUint | F::ToDouble => (TO_NUMBER, T::NUMBER),
        F::ToText => (TO_TEXT, T::TEXT),
        F::ToBool => (TO_BOOL, T::BOOL),
        F::TypeOf => (ANY, T::TYPE),
    }
}

const ORDERED_RESULT: Types = Types(Types::NUMBER.0 | Types::TEXT.0 | Types::BOOL.0 | Types::TIME.0 | Types::SPAN.0);
