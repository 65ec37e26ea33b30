package message

import (
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func headers(pairs ...string) *Headers {
	h := &Headers{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func pairs(h *Headers) []string {
	out := []string{}
	for f := range h.All() {
		out = append(out, f.Name, f.Value)
	}
	return out
}

func TestEveryWellKnownNameFindsItsID(t *testing.T) {
	for id := Other + 1; id < idCount; id++ {
		name := id.Name()
		if name == "" || name != strings.ToLower(name) {
			t.Errorf("ID %d has the name %q", id, name)
		}
		for _, form := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if got := IDOf(form); got != id {
				t.Errorf("IDOf(%q) = %d, want %d", form, got, id)
			}
		}
		if got := IDOf(name + "x"); got != Other {
			t.Errorf("IDOf(%q) = %d, want Other", name+"x", got)
		}
	}
	for _, name := range []string{"", "x", "hos", "\xc8ost", "content_length"} {
		if got := IDOf(name); got != Other {
			t.Errorf("IDOf(%q) = %d, want Other", name, got)
		}
	}
}

func TestHeaders(t *testing.T) {
	cases := []struct {
		name string
		do   func(*Headers)
		want []string
	}{
		{"set replaces all at the place of the first", func(h *Headers) { h.Set("a", "9") }, []string{"A", "9", "Host", "h", "b", "2"}},
		{"set of a well-known name", func(h *Headers) { h.SetID(Host, "x") }, []string{"A", "1", "Host", "x", "b", "2", "a", "3"}},
		{"set appends what was absent", func(h *Headers) { h.Set("c", "4") }, []string{"A", "1", "Host", "h", "b", "2", "a", "3", "c", "4"}},
		{"del without case", func(h *Headers) { h.Del("a") }, []string{"Host", "h", "b", "2"}},
		{"del by ID", func(h *Headers) { h.DelID(Host) }, []string{"A", "1", "b", "2", "a", "3"}},
		{"del of what is absent", func(h *Headers) { h.Del("zz") }, []string{"A", "1", "Host", "h", "b", "2", "a", "3"}},
		{"add keeps repetitions", func(h *Headers) { h.AddID(Host, "i") }, []string{"A", "1", "Host", "h", "b", "2", "a", "3", "host", "i"}},
		{"reset", func(h *Headers) { h.Reset() }, []string{}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := headers("A", "1", "Host", "h", "b", "2", "a", "3")
			c.do(h)
			if diff := cmp.Diff(c.want, pairs(h)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLookups(t *testing.T) {
	h := headers("A", "1", "cookie", "x=1", "a", "2", "Cookie", "y=2", "a", "", "e", "")
	cases := []struct {
		name, first, joined string
		found               bool
	}{
		{"a", "1", "1,2,", true}, {"COOKIE", "x=1", "x=1; y=2", true}, {"e", "", "", true}, {"b", "", "", false},
	}
	for _, c := range cases {
		if v, ok := h.Lookup(c.name); v != c.first || ok != c.found {
			t.Errorf("Lookup(%s) = %q, %v", c.name, v, ok)
		}
		if v, ok := h.Joined(c.name); v != c.joined || ok != c.found {
			t.Errorf("Joined(%s) = %q, %v", c.name, v, ok)
		}
	}
	if h.Get(Cookie) != "x=1" || !h.Has(Cookie) || h.Has(Host) || h.Get(Host) != "" {
		t.Errorf("Get or Has of well-known names")
	}
}

func TestCopyFromIsIndependent(t *testing.T) {
	a := headers("a", "1")
	var b Headers
	b.CopyFrom(a)
	b.Set("a", "2")
	b.Add("c", "3")
	if diff := cmp.Diff([]string{"a", "1"}, pairs(a)); diff != "" {
		t.Error(diff)
	}
}

func TestPseudoHeaders(t *testing.T) {
	r := &Request{Method: "GET", Scheme: "https", Authority: "h", Path: "/p", Headers: *headers("x", "y")}
	for name, want := range map[string]string{":method": "GET", ":scheme": "https", ":authority": "h", "host": "h", ":path": "/p", "X": "y"} {
		if v, ok := r.Lookup(name); v != want || !ok {
			t.Errorf("Lookup(%s) = %q, %v", name, v, ok)
		}
	}
	if _, ok := r.Lookup(":protocol"); ok {
		t.Errorf(":protocol of a plain request")
	}
	r.Reset()
	if diff := cmp.Diff(Request{}, *r, cmp.AllowUnexported(Headers{}), cmp.Comparer(func(a, b Headers) bool { return a.Len() == b.Len() })); diff != "" {
		t.Error(diff)
	}
}

func TestBytesBody(t *testing.T) {
	for name, b := range map[string]*Bytes{"string": NewString("weir"), "bytes": NewBytes([]byte("weir"))} {
		if n, whole := b.Buffered(); n != 4 || !whole {
			t.Errorf("%s: Buffered %d, %v", name, n, whole)
		}
		got, err := io.ReadAll(iotest.OneByteReader(b))
		if err != nil || string(got) != "weir" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF || b.Trailers() != nil {
			t.Errorf("%s: at the end %d, %v", name, n, err)
		}
	}
}

// Who gives up on a request closes its body while another goroutine sends it.
func TestBytesBodyIsClosedBesideARead(t *testing.T) {
	b := NewString("weir")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if got, err := io.ReadAll(iotest.OneByteReader(b)); err != nil || string(got) != "weir" {
			t.Errorf("%q, %v: cut short, and yet at its end", got, err)
		}
	}()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	<-done
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	h := headers("a", "1", "User-Agent", "x", "b", "2")
	if n := testing.AllocsPerRun(100, func() {
		h.Set("A", "2")
		h.SetID(XRequestID, "r")
		h.DelID(XRequestID)
		h.Lookup("B")
		h.Joined("user-agent")
		h.Get(UserAgent)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzHeaders compares a list of operations with the plainest possible implementation.
func FuzzHeaders(f *testing.F) {
	f.Add("aHost|sHOST|dhost|ax|aX|sx|dX")
	f.Add("acookie|aCookie|scookie")
	f.Fuzz(func(t *testing.T, ops string) {
		var h Headers
		model := []string{}
		same := func(a, b string) bool { return equalFold(a, b) }
		for i, op := range strings.Split(ops, "|") {
			if op == "" {
				continue
			}
			name, value := op[1:], strings.Repeat("v", i%3)
			kept, set := []string{}, false
			for j := 0; j < len(model); j += 2 {
				switch {
				case op[0] == 'a' || !same(model[j], name):
					kept = append(kept, model[j], model[j+1])
				case op[0] == 's' && !set:
					kept, set = append(kept, model[j], value), true
				}
			}
			switch op[0] {
			case 'a':
				h.Add(name, value)
				kept = append(kept, name, value)
			case 's':
				h.Set(name, value)
				if !set {
					kept = append(kept, name, value)
				}
			default:
				if found := h.Del(name); found != (len(kept) < len(model)) {
					t.Fatalf("Del(%q) = %v", name, found)
				}
			}
			model = kept
			if diff := cmp.Diff(model, pairs(&h)); diff != "" {
				t.Fatalf("after %q: %s", op, diff)
			}
		}
	})
}

func TestTokensFindTheirID(t *testing.T) {
	for id := Other + 1; id < idCount; id++ {
		name := id.Name()
		for _, form := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if got := IDOfToken([]byte(form)); got != id {
				t.Errorf("IDOfToken(%q) = %d, want %d", form, got, id)
			}
		}
		for i := range name {
			for _, other := range []byte("!~^_Z9|") {
				if form := name[:i] + string(other) + name[i+1:]; IDOfToken([]byte(form)) != IDOf(form) {
					t.Errorf("IDOfToken(%q) = %d, IDOf says %d", form, IDOfToken([]byte(form)), IDOf(form))
				}
			}
		}
	}
}

func BenchmarkIDOfToken(b *testing.B) {
	names := [][]byte{[]byte("Host"), []byte("User-Agent"), []byte("Accept"), []byte("Accept-Encoding"), []byte("X-Request-Id"), []byte("Sec-Fetch-Mode")}
	b.ReportAllocs()
	for b.Loop() {
		for _, n := range names {
			IDOfToken(n)
		}
	}
}

func TestNamesClone(t *testing.T) {
	var none *Names
	n := &Names{Proper: true, Host: "HOST", TransferEncoding: "a", Connection: "b", Reason: "c"}
	if diff := cmp.Diff(n, n.Clone()); diff != "" || none.Clone() != nil {
		t.Error(diff)
	}
}

// fill gives every field of a struct a value other than zero.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("a")
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Int, reflect.Int64:
			f.SetInt(1)
		case reflect.Uint8:
			f.SetUint(1)
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		case reflect.Interface:
			f.Set(reflect.ValueOf(NewString("a")))
		case reflect.Struct:
			f.Addr().Interface().(*Headers).Add("a", "b")
		default:
			t.Fatalf("fill a %s", f.Kind())
		}
	}
}

func TestResetLeavesNothing(t *testing.T) {
	var req Request
	fill(t, reflect.ValueOf(&req).Elem())
	req.Reset()
	var resp Response
	fill(t, reflect.ValueOf(&resp).Elem())
	resp.Reset()
	same := cmp.Comparer(func(a, b Headers) bool { return a.Len() == b.Len() })
	if diff := cmp.Diff(Request{}, req, same) + cmp.Diff(Response{}, resp, same); diff != "" {
		t.Error(diff)
	}
}
