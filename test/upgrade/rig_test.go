package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/test/harness"
)

// Addresses of the rig: one that only capturing makes reachable, one that is there without weir, too, and a bound listener.
const (
	virtual = "10.99.0.1:80"
	real    = "10.99.0.2:80"
	bound   = "127.0.0.1:10000"
)

// rig is a host with a captured application.
type rig struct {
	t     *testing.T
	host  *harness.Host
	group *harness.Cgroup
	fs    string
	conf  string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	harness.NeedInterception(t)
	host := harness.NewHost(t).AddAddress("10.99.0.2")
	proxied := host.TCPBackend("127.0.0.1:0", harness.Greets("weir"))
	host.TCPBackend(real, harness.Greets("direct"))
	listener := func(name, addr string, virtual bool) string {
		return harness.Listener{Name: name, Address: addr, Virtual: virtual, Chains: []string{harness.Chain(harness.TCP("backend"))}}.YAML()
	}
	r := &rig{t: t, host: host, group: harness.NewCgroup(t), fs: kerneltest.BPFFS(t)}
	r.conf = harness.Bootstrap{
		Listeners: []string{listener("virtual", virtual, true), listener("real", real, true), listener("bound", bound, false)},
		Clusters:  []string{harness.Cluster("backend", harness.To(proxied.Addr))},
	}.YAML()
	return r
}

// start starts a weir; fields are those of weir.interception.v1.Interception beside the persistence.
func (r *rig) start(persistence, fields string, notReady bool, flags ...string) *harness.Weir {
	r.t.Helper()
	text := fmt.Sprintf("life_cycle: {persistence: %s, bpf_fs: %q}, offload: {mode: OFF}", persistence, r.fs)
	if fields != "" {
		text += ", " + fields
	}
	return r.host.StartWeir(harness.WeirOptions{
		Config: r.conf, Capture: []*harness.Cgroup{r.group}, Interception: text, Flags: flags, NotReady: notReady,
	})
}

// clientProgram connects again and again, in threads, until its standard input ends; it prints how often it saw what.
const clientProgram = `
import collections, json, socket, sys, threading
seen, lock, stop = collections.Counter(), threading.Lock(), threading.Event()
def work(addr):
    host, port = addr.rsplit(":", 1)
    while not stop.is_set():
        try:
            with socket.create_connection((host, int(port)), timeout=10) as s:
                text = s.recv(64)
                s.sendall(b"!")
                s.shutdown(socket.SHUT_WR)
                while part := s.recv(4096):
                    text += part
                what = text.decode()
        except OSError as e:
            what = type(e).__name__
        with lock:
            seen[addr + " " + what] += 1
threads = [threading.Thread(target=work, args=(a,)) for a in sys.argv[1:]]
for t in threads: t.start()
print("started", flush=True)
sys.stdin.read()
stop.set()
for t in threads: t.join()
print(json.dumps(seen))
`

// load is the captured application at work.
type load struct {
	t    *testing.T
	app  *harness.Process
	stop io.Closer
}

// load starts clients in the captured cgroup, one thread for each address.
func (r *rig) load(addrs ...string) *load {
	r.t.Helper()
	dir := r.t.TempDir()
	fifo := filepath.Join(dir, "stop")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		r.t.Fatal(err)
	}
	harness.WriteFile(r.t, filepath.Join(dir, "client.py"), clientProgram)
	script := fmt.Sprintf("exec python3 %s/client.py \"$@\" < %s", dir, fifo)
	app := r.host.App().In(r.group).Start(append([]string{"sh", "-c", script, "sh"}, addrs...)...)
	end, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return &load{r.t, app, end}
}

// end stops the clients and gives how often they saw what, as "ADDRESS TEXT".
func (l *load) end() map[string]int {
	l.t.Helper()
	l.stop.Close()
	result := l.app.Wait()
	_, text, _ := cut(result.Out)
	seen := make(map[string]int)
	if err := json.Unmarshal([]byte(text), &seen); err != nil {
		l.t.Fatalf("clients: %v\n%s%s", err, result.Out, result.Err)
	}
	return seen
}

func cut(text string) (first, rest string, found bool) {
	for i := range len(text) {
		if text[i] == '\n' {
			return text[:i], text[i+1:], true
		}
	}
	return text, "", false
}

// dialer makes connections to the bound listener, from outside of the cgroup, until it is ended.
type dialer struct {
	ok, failed atomic.Int64
	first      atomic.Value
	cancel     context.CancelFunc
	wg         sync.WaitGroup
}

func (r *rig) dialer(addr, want string) *dialer {
	ctx, cancel := context.WithCancel(r.t.Context())
	d := &dialer{cancel: cancel}
	d.wg.Go(func() {
		for ctx.Err() == nil {
			if err := exchange(r.host, addr, want); err != nil {
				d.failed.Add(1)
				d.first.CompareAndSwap(nil, err.Error())
				continue
			}
			d.ok.Add(1)
		}
	})
	return d
}

func (d *dialer) end() (ok, failed int64) {
	d.cancel()
	d.wg.Wait()
	return d.ok.Load(), d.failed.Load()
}

// exchange makes one connection and reads its greeting to the end.
func exchange(host *harness.Host, addr, want string) error {
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	conn, err := host.Dial(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("read greeting: %w", err)
	}
	if string(got) != want {
		return fmt.Errorf("got %q", got)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}
