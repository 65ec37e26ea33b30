package faults

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// squatterProgram listens where it is told to, says so, and greets whoever comes.
const squatterProgram = `
import socket, sys
l = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    c, _ = l.accept()
    c.sendall(b"squatter")
    c.close()
`

// TestSquatter has an ordinary user's process take the port of the capture socket when weir is dead and its programs are not. It gets
// nothing that was captured: the fail policy decides.
func TestSquatter(t *testing.T) {
	for policy, want := range map[string]string{"OPEN": "direct!", "CLOSED": "ECONNREFUSED"} {
		t.Run(policy, func(t *testing.T) {
			r := newRig(t, "UNTIL_STOPPED", policy)
			weir := r.start(true)
			var status struct {
				CaptureSockets []netip.AddrPort `json:"capture_sockets"`
			}
			weir.JSON("/weir/interception", &status)
			weir.Kill()
			if len(status.CaptureSockets) == 0 {
				t.Fatal("there are no capture sockets")
			}
			port := status.CaptureSockets[0].Port()
			squatter := r.host.App().Start("python3", "-I", "-c", squatterProgram, fmt.Sprint(port))
			harness.EventuallyNil(t, "the squatter listens", func() error {
				conn, err := r.host.Dial(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
				if err == nil {
					conn.Close()
				}
				return err
			})
			if got := r.greetings(); got[0] != want || got[1] != "direct!" {
				t.Errorf("greetings %q, want %q and direct!", got, want)
			}
			squatter.Signal(9)
			squatter.Wait()
			if r.start(true); r.greetings() != [2]string{"weir!", "direct!"} {
				t.Error("the next weir does not capture")
			}
		})
	}
}
