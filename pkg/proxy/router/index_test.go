package router

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// randomPath is a path of few different segments, so that criteria and requests meet.
func randomPath(r *rand.Rand) string {
	segments := []string{"/a", "/B", "/ab", "/abc", "/é", "/", "/x-1", ";p=1", "c"}
	path := "/"
	for range r.IntN(4) {
		path += segments[r.IntN(len(segments))]
	}
	return path
}

// randomMatch is a criterion of any kind, in a third of the cases with a header beside it.
func randomMatch(r *rand.Rand) model.RouteMatch {
	m := model.RouteMatch{Kind: model.PathKind(r.IntN(int(model.PathTemplate) + 1)), Path: randomPath(r)}
	if m.IgnoreCase = r.IntN(4) == 0; m.IgnoreCase {
		m.Path = lowerText(m.Path)
	}
	if m.Kind == model.PathRegex || m.Kind == model.PathTemplate {
		inner := regexp.QuoteMeta(m.Path) + []string{"", ".*", "|/a", "[a-c]?"}[r.IntN(4)]
		if r.IntN(5) == 0 {
			inner = "(?i)" + inner
		}
		m.Regex = regexp.MustCompile("^(?:" + inner + ")$")
	}
	if r.IntN(3) == 0 {
		m.Headers = []model.HeaderMatcher{{Name: "x", Kind: model.HeaderPresent, Present: r.IntN(2) == 0}}
	}
	return m
}

// checkIndex compares the index of n random routes with asking them one after the other.
func checkIndex(t *testing.T, seed uint64, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	vh := &model.VirtualHost{Name: "v", Domains: []string{"*"}}
	for i := range n {
		vh.Routes = append(vh.Routes, &model.Route{Name: fmt.Sprint(i), Match: randomMatch(r), Action: &model.RouteAction{Cluster: "c"}})
	}
	table, err := Compile(&model.RouteConfig{VirtualHosts: []*model.VirtualHost{vh}, IgnorePathParameters: seed%2 == 0}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		req := &message.Request{Method: "GET", Authority: "v", Path: randomPath(r)}
		switch r.IntN(8) {
		case 0:
			req.Method, req.Path = "CONNECT", ""
		case 1:
			req.Method = "CONNECT"
		case 2:
			req.Path += "?q=/a"
		}
		if r.IntN(2) == 0 {
			req.Headers.Add("x", "1")
		}
		q := table.ask(req, nil, 0)
		got, want := table.any.routes.find(&q), firstOf(table.any.routes.entries, &q)
		if got != want {
			t.Fatalf("seed %d: %s %q takes %v, want %v", seed, req.Method, req.Path, name(got), name(want))
		}
	}
}

func name(e *entry) string {
	if e == nil {
		return "none"
	}
	return fmt.Sprintf("%s %+v", e.route.Name, e.route.Match)
}

func TestIndexAnswersLikeAScan(t *testing.T) {
	for seed := range uint64(400) {
		checkIndex(t, seed, 1+int(seed%60))
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(uint64(1), uint8(10))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) { checkIndex(t, seed, int(n)) })
}

func TestFixedPrefix(t *testing.T) {
	for pattern, want := range map[string]string{
		"/api/v[0-9]+/x": "/api/v",
		"/a|b":           "",
		"/a|/ab":         "/a",
		"(?i)/a.*":       "",
		".*":             "",
		"/plain":         "/plain",
		"(/x)?/y":        "",
	} {
		if _, got := shapeOf(regexp.MustCompile("^(?:" + pattern + ")$")); got != want {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
}

// TestShapes compares what stands for simple expressions with the expressions.
func TestShapes(t *testing.T) {
	for pattern, shape := range map[string]regexShape{
		"/a": regexExact, "/a.*": regexPrefix, "/a\\.b.*": regexPrefix, "(?s)/a.*": regexAny, "/a.+": regexAny, "/a|/b": regexAny,
		"(?i)/a": regexAny, "(/a.*)": regexAny, "/a.*b": regexAny, "": regexAny, ".*": regexAny, "/é.*": regexPrefix, "(?:/a.*)": regexPrefix,
	} {
		re := regexp.MustCompile("^(?:" + pattern + ")$")
		got, fixed := shapeOf(re)
		if got != shape {
			t.Errorf("%q: shape %d, want %d", pattern, got, shape)
		}
		e := &entry{shape: got, fixed: fixed}
		m := &model.RouteMatch{Kind: model.PathRegex, Regex: re}
		for _, path := range []string{"/", "/a", "/ab", "/a.b", "/a.bc", "/axb", "/A", "/a\n", "/a\nb", "/é", "/éx", "/b"} {
			if got, want := e.matchesPath(m, &question{path: path, req: &message.Request{}}), re.MatchString(path); got != want {
				t.Errorf("%q on %q: %v, want %v", pattern, path, got, want)
			}
		}
	}
}

// largeTable is a virtual host with n routes of the usual kinds; the last one takes everything.
func largeTable(tb testing.TB, n int) *Table {
	tb.Helper()
	vh := &model.VirtualHost{Name: "v", Domains: []string{"*"}}
	for i := range n - 1 {
		m := model.RouteMatch{Kind: model.PathKind(i % 4), Path: fmt.Sprintf("/team-%d/service-%d", i%97, i)}
		if m.Kind == model.PathRegex {
			m.Regex = regexp.MustCompile("^(?:" + m.Path + "/[0-9]+)$")
		}
		vh.Routes = append(vh.Routes, &model.Route{Match: m, Action: &model.RouteAction{Cluster: "c"}})
	}
	vh.Routes = append(vh.Routes, &model.Route{Match: model.RouteMatch{Path: "/"}, Action: &model.RouteAction{Cluster: "rest"}})
	t, err := Compile(&model.RouteConfig{VirtualHosts: []*model.VirtualHost{vh}}, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 100, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := largeTable(b, n)
			requests := make([]*message.Request, 64)
			for i := range requests {
				at := i * n / len(requests)
				requests[i] = &message.Request{Method: "GET", Authority: "v", Path: fmt.Sprintf("/team-%d/service-%d/17?x=1", at%97, at)}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				table.Match(requests[i%len(requests)], nil, 7)
				i++
			}
		})
	}
}

// BenchmarkHeaders asks routes that differ in a header alone.
func BenchmarkHeaders(b *testing.B) {
	vh := &model.VirtualHost{Name: "v", Domains: []string{"*"}}
	for i := range 20 {
		vh.Routes = append(vh.Routes, &model.Route{
			Match:  model.RouteMatch{Path: "/", Headers: []model.HeaderMatcher{{Name: "x-version", String: model.StringMatcher{Value: fmt.Sprint("v", i)}}}},
			Action: &model.RouteAction{Cluster: "c"},
		})
	}
	table, err := Compile(&model.RouteConfig{VirtualHosts: []*model.VirtualHost{vh}}, Options{})
	if err != nil {
		b.Fatal(err)
	}
	req := &message.Request{Method: "GET", Authority: "v", Path: "/a/b"}
	for _, name := range []string{"user-agent", "accept", "x-request-id", "x-forwarded-for", "x-forwarded-proto", "cookie", "x-other", "x-version"} {
		req.Headers.Add(name, "v19")
	}
	b.ReportAllocs()
	for b.Loop() {
		table.Match(req, nil, 7)
	}
}

func BenchmarkCompile(b *testing.B) {
	c := largeTable(b, 10_000).Config()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(c, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
