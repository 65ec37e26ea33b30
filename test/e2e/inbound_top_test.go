package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// TestTopInbound finds the process that a connection has come in to.
func TestTopInbound(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "inbound: {}", virtualInbound(""))
	server := h.serve(true, "0.0.0.0", "7000")
	if conn, err := h.far.Dial(t.Context(), "tcp", nearAddr+":7000"); err != nil {
		t.Fatal(err)
	} else {
		t.Cleanup(func() { _ = conn.Close() })
	}
	want := topRow{
		Verdict: "inbound", Command: "python3", Container: filepath.Base(h.group.Dir), Destination: nearAddr + ":7000",
		Listener: "virtualInbound", Cluster: "inbound", Endpoint: nearAddr + ":7000", PID: server.Pid(),
	}
	harness.EventuallyNil(t, "the connection", func() error {
		var got struct{ Connections []topRow }
		h.weir.JSON("/weir/connections", &got)
		if len(got.Connections) != 1 || got.Connections[0] != want {
			return fmt.Errorf("%+v, want one, %+v", got.Connections, want)
		}
		return nil
	})
}
