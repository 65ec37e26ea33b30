package soak

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// outcomes is a set of what a client may see: the name of a backend, an HTTP status, or how a connection fails.
type outcomes map[string]bool

func only(names ...string) outcomes {
	o := outcomes{}
	for _, n := range names {
		o[n] = true
	}
	return o
}

func (o outcomes) String() string { return strings.Join(slices.Sorted(maps.Keys(o)), ",") }

// timeline says which outcomes each target allowed when.
type timeline struct {
	mu    sync.Mutex
	spans map[string][]span
}

// span lasts until the next one of its target.
type span struct {
	from    time.Time
	allowed outcomes
}

func newTimeline() *timeline { return &timeline{spans: map[string][]span{}} }

// set makes the outcomes those that targets allow from now on.
func (l *timeline) set(all map[string]outcomes) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for target, allowed := range all {
		spans := l.spans[target]
		if len(spans) > 0 && maps.Equal(spans[len(spans)-1].allowed, allowed) {
			continue
		}
		l.spans[target] = append(spans, span{now, allowed})
	}
}

// allowed are the outcomes that a target allowed at any time between two moments.
func (l *timeline) allowed(target string, sent, ended time.Time) outcomes {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := outcomes{}
	spans := l.spans[target]
	for i, s := range spans {
		over := i+1 < len(spans) && spans[i+1].from.Before(sent)
		if !over && !s.from.After(ended) {
			maps.Copy(out, s.allowed)
		}
	}
	return out
}

// merge adds the outcomes of both.
func merge(a, b map[string]outcomes) map[string]outcomes {
	out := map[string]outcomes{}
	for _, m := range []map[string]outcomes{a, b} {
		for target, allowed := range m {
			if out[target] == nil {
				out[target] = outcomes{}
			}
			maps.Copy(out[target], allowed)
		}
	}
	return out
}

func TestTimeline(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	l := newTimeline()
	l.spans["x"] = []span{{at(10), only("a")}, {at(20), only("a", "b")}, {at(30), only("b")}}
	for _, tc := range []struct {
		name      string
		sent, end int
		want      string
	}{
		{name: "before the change", sent: 11, end: 12, want: "a"},
		{name: "into the change", sent: 11, end: 22, want: "a,b"},
		{name: "over the change", sent: 11, end: 32, want: "a,b"},
		{name: "after the change", sent: 31, end: 32, want: "b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := l.allowed("x", at(tc.sent), at(tc.end)).String(); got != tc.want {
				t.Errorf("allowed %s, want %s", got, tc.want)
			}
		})
	}
}
