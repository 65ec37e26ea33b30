package netns

import (
	"os/exec"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/await"
)

func TestWatchAddresses(t *testing.T) {
	ns := fresh(t)
	told := make(chan struct{}, 1)
	var changes *Changes
	if err := ns.Do(func() (err error) {
		changes, err = WatchAddresses(func() {
			select {
			case told <- struct{}{}:
			default:
			}
		})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	up := func() error { return exec.CommandContext(t.Context(), "ip", "link", "set", "lo", "up").Run() }
	if err := ns.Do(up); err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
	case <-time.After(await.Patience):
		t.Error("nobody was told that the loopback device has come up")
	}
	if err := changes.Close(); err != nil {
		t.Error(err)
	}
}
