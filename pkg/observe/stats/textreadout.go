package stats

import "sync/atomic"

// TextReadout is a string that is shown among the stats, such as the version of a configuration.
// The zero value is usable but belongs to no store.
type TextReadout struct {
	value atomic.Pointer[string]
}

// Set replaces the text.
func (t *TextReadout) Set(s string) { t.value.Store(&s) }

// Value is the text, "" before the first Set.
func (t *TextReadout) Value() string {
	if s := t.value.Load(); s != nil {
		return *s
	}
	return ""
}

// Used reports whether the text was ever set.
func (t *TextReadout) Used() bool { return t.value.Load() != nil }
