package pool

import (
	"testing"
	"unsafe"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// TestServerNamesAreKept checks that a pool does not hold on to memory of the request that it was made for.
func TestServerNamesAreKept(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 100)
	f.word <- nil
	name := []byte("one.example")
	s, err := f.Connect(t.Context(), &Options{SNI: unsafe.String(&name[0], len(name))})
	if err != nil {
		t.Fatal(err)
	}
	copy(name, "two")
	s.Close()
	if f.Reuse(&Options{SNI: "two.example"}) != nil || f.Reuse(&Options{SNI: "one.example"}) == nil {
		t.Error("the pool goes by another name now")
	}
}
