package filtertest_test

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/filtertest"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/buffer"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/grpchttp1bridge"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/grpcweb"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/headermutation"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/healthcheck"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

type last struct{}

func (last) Handle(s *filter.Stream) (*message.Response, error) { return s.Response, nil }

// chain is all filters in front of one that answers.
func chain(t testing.TB) []filter.HTTP {
	t.Helper()
	var out []filter.HTTP
	for _, b := range []filter.Builder{
		&buffer.Config{MaxRequestBytes: 1000}, &grpcweb.Config{}, &grpchttp1bridge.Config{UpgradeProtobuf: true}, &headermutation.Config{},
		&healthcheck.Config{Headers: []model.HeaderMatcher{{Name: ":path", String: model.StringMatcher{Value: "/health"}}}},
	} {
		f, err := b.NewHTTP(filtertest.Deps(stats.NewStore(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return append(out, last{})
}

func idle(t testing.TB) func() {
	run := filtertest.New(t, &message.Request{Method: "GET", Path: "/", Headers: filtertest.Headers("content-type", "text/plain", "accept", "*/*")}, nil)
	filters := chain(t)
	return func() {
		run.SetChain(filters)
		if _, err := run.Next(); err != nil {
			t.Fatal(err)
		}
		run.Stream.End()
		run.Stream.Release()
	}
}

func TestIdleFiltersDoNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, idle(t)); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkIdleFilters(b *testing.B) {
	once := idle(b)
	for b.Loop() {
		once()
	}
}
