package httprouter

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// What is written comes out, whatever the pieces.
func TestPipeCarriesEverything(t *testing.T) {
	want := make([]byte, 200_000)
	for i := range want {
		want[i] = byte(rand.Uint32())
	}
	p := newPipe(len(want))
	go func() {
		for left := want; len(left) > 0; {
			n := min(1+rand.IntN(5000), len(left))
			p.write(left[:n])
			left = left[n:]
		}
		trailers := &message.Headers{}
		trailers.Add("x-sum", "1")
		p.finish(trailers)
	}()
	got, err := io.ReadAll(p)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	if v, _ := p.Trailers().Lookup("x-sum"); v != "1" {
		t.Errorf("trailers %v", p.Trailers())
	}
	if n, whole := p.Buffered(); n != 0 || !whole {
		t.Errorf("buffered %d, %v", n, whole)
	}
}

func TestPipeIsBounded(t *testing.T) {
	told := 0
	p := newPipe(10)
	p.broken = func() { told++ }
	buf := make([]byte, 4)
	if !p.write([]byte("12345678")) {
		t.Fatal("does not take what fits")
	}
	if n, err := p.Read(buf); n != 4 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if !p.write([]byte("123456")) {
		t.Error("does not take what fits after a read")
	}
	if p.write([]byte("x")) {
		t.Error("takes more than its limit")
	}
	if _, err := p.Read(buf); !errors.Is(err, errShadowCut) || told != 1 {
		t.Errorf("after that: %v, told %d times", err, told)
	}
	if !p.write([]byte("more")) {
		t.Error("tells of the end more than once")
	}
}

func TestShadowHost(t *testing.T) {
	for host, want := range map[string]string{
		"a.test": "a.test-shadow", "a.test:80": "a.test-shadow:80", "[::1]:80": "[::1]-shadow:80", "": "-shadow",
	} {
		if got := shadowHost(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

func TestCloneHeaders(t *testing.T) {
	memory := []byte("X-A1two3")
	h := &message.Headers{}
	h.Add(string(memory[:3]), "1")
	h.Add("cookie", "two")
	c := cloneHeaders(h)
	if c.Len() != 2 || c.At(0).Name != "X-A" || c.At(0).Value != "1" || c.At(1).Value != "two" || c.Get(message.Cookie) != "two" {
		t.Errorf("%+v %+v", c.At(0), c.At(1))
	}
}
