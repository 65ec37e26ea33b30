package filter_test

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/filtertest"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func TestPerRoute(t *testing.T) {
	run := filtertest.New(t, &message.Request{}, nil)
	at := func(v any) map[string]*model.FilterOverride {
		return map[string]*model.FilterOverride{"f": {Config: v}}
	}
	want := func(v int, ok bool, all ...int) {
		t.Helper()
		if got, found := filter.PerRoute[int](&run.Stream, "f"); got != v || found != ok {
			t.Errorf("got %d, %v, want %d, %v", got, found, v, ok)
		}
		if got := filter.AppendPerRoute[int](nil, &run.Stream, "f"); !slices.Equal(got, all) {
			t.Errorf("all are %v, want %v", got, all)
		}
		if _, found := filter.PerRoute[int](&run.Stream, "g"); found {
			t.Error("another filter has it too")
		}
	}
	want(0, false)
	run.Chosen.Config.PerFilter = at(1)
	want(1, true, 1)
	run.Chosen.VirtualHost.PerFilter = at(2)
	want(2, true, 2, 1)
	run.Chosen.Route.PerFilter = at(3)
	want(3, true, 3, 2, 1)
	run.Chosen.Weighted = &model.WeightedCluster{PerFilter: at(4)}
	want(4, true, 4, 3, 2, 1)
	run.Chosen.Weighted.PerFilter = at("another type")
	want(0, false, 3, 2, 1)
	run.Chosen.Weighted.PerFilter = map[string]*model.FilterOverride{"f": {}} // only enabled
	want(3, true, 3, 2, 1)
	run.Chosen.Route = nil
	want(0, false)
}

func TestMetadataAndState(t *testing.T) {
	run := filtertest.New(t, &message.Request{}, nil)
	run.SetMetadata("ns", "a", 1.0)
	run.SetMetadata("ns", "b", "x")
	run.SetFilterState("key", true)
	if m := run.Info.Dynamic["ns"]; m["a"] != 1.0 || m["b"] != "x" || run.Info.FilterState["key"] != true {
		t.Errorf("%v, %v", m, run.Info.FilterState)
	}
	run.Stream.ClearRoute()
	if run.Cleared != 1 {
		t.Error("the route was not cleared")
	}
}

type ender struct {
	name string
	log  *[]string
}

func (e ender) End()     { *e.log = append(*e.log, "end "+e.name) }
func (e ender) Release() { *e.log = append(*e.log, "release "+e.name) }

func TestAtEnd(t *testing.T) {
	var s filter.Stream
	var log []string
	s.AtEnd(ender{"a", &log})
	s.AtEnd(ender{"b", &log})
	s.End()
	s.Release()
	s.End()
	s.Release()
	if got := strings.Join(log, ", "); got != "end b, end a, release b, release a" {
		t.Error(got)
	}
}

func TestHeldBodyCanBeReadAgainAndGoOn(t *testing.T) {
	b := filter.NewBuffers(stats.NewStore().Root())
	trailers := filtertest.Headers("t", "1")
	run := filtertest.New(t, &message.Request{ContentLength: -1, Body: filtertest.Body(&trailers, "01234", "56789")}, nil)
	held, err := b.Request(&run.Stream, 10)
	if err != nil || string(held.Bytes()) != "0123456789" || run.Request.Body != message.Body(held) {
		t.Fatalf("%v, %v", held, err)
	}
	for range 2 {
		if n, whole := held.Buffered(); n != 10 || !whole {
			t.Errorf("buffered %d, %v", n, whole)
		}
		if got, err := io.ReadAll(held); err != nil || string(got) != "0123456789" {
			t.Errorf("%q, %v", got, err)
		}
		held.Rewind()
	}
	if held.Trailers() != &trailers {
		t.Error("the trailers are gone")
	}
	run.Release()

	run = filtertest.New(t, &message.Request{ContentLength: -1, Body: filtertest.Body(&trailers, "01234", "56789", "abc")}, nil)
	held, err = b.Request(&run.Stream, 7)
	if err != filter.ErrTooLarge || run.Request.Body != message.Body(held) {
		t.Fatalf("%v, %v", held, err)
	}
	if _, whole := held.Buffered(); whole {
		t.Error("a part is taken for the whole")
	}
	if got, err := io.ReadAll(held); err != nil || string(got) != "0123456789abc" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestBuffersReuseMemory(t *testing.T) {
	b := filter.NewBuffers(stats.NewStore().Root())
	s := &filter.Stream{Request: &message.Request{}}
	body := &again{}
	read := func() {
		s.Request.Body, s.Request.ContentLength = body, 1000
		if _, err := b.Request(s, 2000); err != nil {
			t.Fatal(err)
		}
		s.Release()
	}
	read()
	if n := testing.AllocsPerRun(100, read); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// again is a body of 1000 bytes that can be read again and again.
type again struct{ end bool }

func (a *again) Read(p []byte) (int, error) {
	if a.end = !a.end; !a.end {
		return 0, io.EOF
	}
	return min(1000, len(p)), nil
}

func (*again) Trailers() *message.Headers { return nil }

func (*again) Close() error { return nil }

func TestWithTrailers(t *testing.T) {
	calls := 0
	b := filter.WithTrailers(filtertest.Body(nil, "ab"), func(h *message.Headers) *message.Headers {
		if calls++; h != nil {
			t.Error("trailers from nowhere")
		}
		out := filtertest.Headers("new", "1")
		return &out
	})
	if got, err := io.ReadAll(b); err != nil || string(got) != "ab" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := b.Read(make([]byte, 1)); err != io.EOF || calls != 1 || b.Trailers().Len() != 1 {
		t.Errorf("%v, %d calls, %v", err, calls, b.Trailers())
	}
}
