package owners

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// TestNames finds cgroups by their ids, and remembers in time those that go.
func TestNames(t *testing.T) {
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	top := fmt.Sprintf("/weir-names-test-%d", os.Getpid())
	id := strings.Repeat("0123456789abcdef", 4)
	create := func(name string) uint64 {
		dir, _, err := h.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Remove(dir) })
		number, err := cgroup.ID(dir)
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	remove := func(name string) {
		dir, err := h.Path(name)
		if err == nil {
			err = h.Remove(dir)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	n := NewNames()
	for _, tc := range []struct{ name, container string }{
		{top, ""},
		{top + "/docker-" + id + ".scope", id},
		{top + "/docker-" + id + ".scope/init.scope", id},
	} {
		if got, container := n.Of(create(tc.name)); got != tc.name || container != tc.container {
			t.Errorf("%s: %q, %q; want container %q", tc.name, got, container, tc.container)
		}
	}
	noted, missed := top+"/noted", top+"/missed"
	first, second := create(noted), create(missed)
	n.Note(first)
	remove(noted)
	remove(missed)
	if got, _ := n.Of(first); got != noted {
		t.Errorf("a cgroup that was noted before it went: %q", got)
	}
	for _, id := range []uint64{second, 0, 1 << 62} {
		if got, container := n.Of(id); got != "" || container != "" {
			t.Errorf("cgroup %d that is not there: %q, %q", id, got, container)
		}
	}
	if n := testing.AllocsPerRun(100, func() { n.Of(first) }); n != 0 {
		t.Errorf("%v allocations for a cgroup that is known", n)
	}
	quiet := NewNames()
	if quiet.Note(create(top + "/unasked")); quiet.known != nil {
		t.Error("names were looked for that nobody wants")
	}
}
