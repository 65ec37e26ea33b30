package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// slowClient sends numbered lines on one connection for as long as a file is not there, and compares what comes back.
const slowClient = `
import os, socket, sys, time
c = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
f = c.makefile("rb")
n = 0
while n < 20 or not os.path.exists(sys.argv[3]):
    line = b"%d\n" % n
    c.sendall(line)
    got = f.readline()
    if got != line: sys.exit("%r came back for %r" % (got, line))
    n += 1
    if n == 20: open(sys.argv[3] + ".up", "w").close()
    time.sleep(0.01)
c.shutdown(socket.SHUT_WR)
if f.read(): sys.exit("there is more")
print("ok")
`

// lineServer sends back what it gets.
const lineServer = `
import socket, sys, threading
s = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
def serve(c):
    while True:
        b = c.recv(65536)
        if not b: break
        c.sendall(b)
    c.close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],)).start()
`

// TestAccelerationAndUpgrade has one weir take over from another: a connection that the first has accelerated goes on, and the
// second accelerates those that come.
func TestAccelerationAndUpgrade(t *testing.T) {
	t.Parallel()
	const fields = "mode: FULL, applications: [GROUP], min_operations: 1"
	flags := func(epoch int) []string {
		return []string{
			fmt.Sprintf("--base-id=%d", 200000+os.Getpid()%100000), fmt.Sprintf("--restart-epoch=%d", epoch),
			"--drain-time-s=1", "--parent-shutdown-time-s=60",
		}
	}
	h := newFastHouse(t, fields, flags(0)...)
	h.serve(lineServer, fastTCPPort)
	end := harness.Dir(t) + "/end"
	ip, port, _ := strings.Cut(fastTCP, ":")
	long := h.host.App().In(h.group).Start("python3", "-I", "-c", slowClient, ip, port, end)
	exists := func(path string) func() bool {
		return func() bool {
			_, err := os.Stat(path)
			return err == nil
		}
	}
	harness.Eventually(t, "the connection is in use", exists(end+".up"))
	if page := h.page(); page.Active != 2 || page.Bytes == 0 {
		t.Errorf("the first weir: %+v", page)
	}

	first := h.weir
	h.weir = h.host.StartWeir(h.options(fields, flags(1)...))
	short := harness.Dir(t) + "/end"
	harness.WriteFile(t, short, "")
	for range 3 {
		wantOK(t, h.host.App().In(h.group).Python(slowClient, ip, port, short), "ok")
	}
	if page := h.page(); page.Mode != "FULL" || page.Accelerated != 6 || page.Bytes == 0 {
		t.Errorf("the second weir: %+v", page)
	}
	harness.WriteFile(t, end, "")
	wantOK(t, long.Wait(), "ok")
	<-first.Ended()
}

// TestAccelerationInNamespaces accelerates connections of an application whose network namespace is not weir's. weir connects in that
// namespace, too.
func TestAccelerationInNamespaces(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	modes(t, func(t *testing.T, h *fastHouse) {
		pod := newPod(t, h.host, h.group, "pod", "")
		served(t, h.weir, pod)
		pod.app.Start("python3", "-I", "-c", bulkServer, fastTCPPort, fmt.Sprint(size))
		harness.Eventually(t, "the server listens", func() bool {
			c, err := pod.Dial(t.Context(), "tcp", "127.0.0.1:"+fastTCPPort)
			if err != nil {
				return false
			}
			_ = c.Close()
			return true
		})
		ip, port, _ := strings.Cut(fastTCP, ":")
		wantOK(t, pod.app.Python(bulkClient, ip, port, fmt.Sprint(size), fmt.Sprint(size), "1"), "ok")
		if page := h.page(); page.Asked != "" && (page.Accelerated != 2 || page.Bytes < 1<<20) {
			t.Errorf("went past TCP: %+v", page)
		}
	})
}

// TestAccelerationIsShown among the connections.
func TestAccelerationIsShown(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, h *fastHouse) {
		h.serve(lineServer, fastTCPPort)
		end := harness.Dir(t) + "/end"
		ip, port, _ := strings.Cut(fastTCP, ":")
		client := h.host.App().In(h.group).Start("python3", "-I", "-c", slowClient, ip, port, end)
		on := h.page().Asked != ""
		harness.Eventually(t, "the connection is shown", func() bool {
			text := h.weir.Page("/weir/connections?format=text")
			return strings.Contains(text, fastTCP) && strings.Contains(text, "captured accelerated") == on
		})
		harness.WriteFile(t, end, "")
		wantOK(t, client.Wait(), "ok")
	})
}
