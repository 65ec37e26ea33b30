package explain

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseQuery(t *testing.T) {
	tests := []struct {
		name, params string
		want         Query
		wantErr      []string
	}{
		{name: "address", params: "dst=10.0.0.1:80", want: Query{Dst: netip.MustParseAddrPort("10.0.0.1:80")}},
		{name: "mapped", params: "dst=[::ffff:10.0.0.1]:80&src=::ffff:10.0.0.2", want: Query{
			Dst: netip.MustParseAddrPort("10.0.0.1:80"), Src: netip.MustParseAddrPort("10.0.0.2:0"),
		}},
		{name: "everything", params: "dst=[fd00::1]:443&host=A.shop:8&path=/x?y&method=PUT&header=A:%20b%20&header=x-C:&sni=B.Shop&alpn=h2,http/1.1&src=1.2.3.4:5&pid=7&assume_captured=true", want: Query{
			Dst: netip.MustParseAddrPort("[fd00::1]:443"), Host: "A.shop:8", Path: "/x?y", Method: "PUT",
			Headers: []Header{{"a", "b"}, {"x-c", ""}}, TLS: true, SNI: "b.shop", ALPN: []string{"h2", "http/1.1"},
			Src: netip.MustParseAddrPort("1.2.3.4:5"), PID: 7, AssumeCaptured: true,
		}},
		{name: "host header", params: "dst=10.0.0.1:80&header=Host:x&tls=0", want: Query{Dst: netip.MustParseAddrPort("10.0.0.1:80"), Host: "x"}},
		{name: "nothing", wantErr: []string{"dst: is missing"}},
		{name: "name", params: "dst=shop:80", wantErr: []string{`dst: "shop:80" is not IP:PORT`}},
		{name: "port 0", params: "dst=10.0.0.1:0", wantErr: []string{"port 0"}},
		{name: "all errors", params: "dst=10.0.0.1:80&path=x&method=a%20b&header=x&header=a%20b:c&header=a:%01&sni=1.2.3.4&alpn=,&src=x&pid=0&tls=maybe&what=1&host=%20", wantErr: []string{
			"path: ", "method: ", `header: "x" is not NAME:VALUE`, `"a b" cannot be a header name`, "cannot be a header value", "sni: ", "alpn: ",
			"src: ", "pid: ", "tls: ", "what: there is no such parameter", "host: ",
		}},
		{name: "spaces in path", params: "dst=10.0.0.1:80&path=/a%20b", wantErr: []string{"spaces"}},
		{name: "two callers", params: "dst=10.0.0.1:80&pid=1&cgroup=/x", wantErr: []string{"one of pid and cgroup"}},
		{name: "too many headers", params: "dst=10.0.0.1:80" + strings.Repeat("&header=a:b", 101), wantErr: []string{"more than 100"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			params, err := url.ParseQuery(tt.params)
			if err != nil {
				t.Fatal(err)
			}
			q, err := ParseQuery(params)
			if len(tt.wantErr) > 0 {
				for _, want := range tt.wantErr {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("error %v does not say %q", err, want)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, q, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzParseQuery holds that whatever is accepted can be said again, and can be laid out.
func FuzzParseQuery(f *testing.F) {
	f.Add("dst=10.0.0.1:80&host=a&path=/x&header=a:b&sni=c&alpn=h2&src=1.2.3.4&pid=1")
	f.Add("dst=[::1]:443&tls&cgroup=/x&assume_captured=1&method=PUT&header=Host:%20z")
	f.Add("dst=%zz&;&=&header=:")
	f.Fuzz(func(t *testing.T, raw string) {
		params, _ := url.ParseQuery(raw) // what could be read of it
		q, err := ParseQuery(params)
		if err != nil {
			return
		}
		again, err := ParseQuery(q.Params())
		if err != nil {
			t.Fatalf("%q is not accepted again: %v", q.Params().Encode(), err)
		}
		if diff := cmp.Diff(q, again, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
		for _, tls := range []bool{false, true} {
			if r, _ := q.request(tls); r.Authority == "" || r.Path == "" || r.Method == "" {
				t.Errorf("request %+v is not complete", r)
			}
		}
		if text := (&Answer{Query: q.String(), Verdict: q.Host}).Text(); !strings.HasSuffix(text, "\n") {
			t.Errorf("text %q", text)
		}
	})
}

func TestLayout(t *testing.T) {
	a := &Answer{Query: "q", Verdict: strings.Repeat("word ", 30) + strings.Repeat("x", 120), Steps: []Step{{Name: "a step with a long name", Result: "r"}}}
	want := "q\n\n1 a step with a long name r\n\n" +
		"verdict         " + strings.TrimSuffix(strings.Repeat("word ", 17), " ") +
		"\n                " + strings.TrimSuffix(strings.Repeat("word ", 13), " ") +
		"\n                " + strings.Repeat("x", 120) + "\n"
	if diff := cmp.Diff(want, a.Text()); diff != "" {
		t.Error(diff)
	}
}
