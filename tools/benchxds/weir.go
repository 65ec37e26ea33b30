package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/tools/bench/deltaxds"
	"github.com/weir-proxy/weir/tools/bench/measure"
)

// readyLimit is how long weir may take to be ready.
const readyLimit = 60 * time.Second

// weir is the process under measurement, with its control plane.
type weir struct {
	fleet
	*deltaxds.Server
	process *exec.Cmd
	admin   int
	log     string
	dir     string
}

// start starts weir with a fleet; it is not waited for, and the control plane does not answer before open.
func (b *bench) start(f fleet) (_ *weir, err error) {
	w := &weir{fleet: f}
	w.backend = b.backend.port
	for _, port := range []*int{&w.port, &w.admin} {
		if *port, err = freePort(); err != nil {
			return nil, err
		}
	}
	if w.Server, err = startServer(w.fleet); err != nil {
		return nil, err
	}
	if w.dir, err = os.MkdirTemp(b.dir, "weir-"); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	config := filepath.Join(w.dir, "weir.yaml")
	if err := os.WriteFile(config, []byte(w.bootstrap()), 0o644); err != nil {
		return nil, fmt.Errorf("write bootstrap: %w", err)
	}
	w.log = filepath.Join(w.dir, "log")
	log, err := os.Create(w.log)
	if err != nil {
		return nil, fmt.Errorf("make log: %w", err)
	}
	defer log.Close()
	w.process = exec.Command("nice", "-n", ordinary, b.weir, "-c", config, "-l", "warning", "--drain-time-s", "1")
	w.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	w.process.Stdout, w.process.Stderr = log, log
	if err := w.process.Start(); err != nil {
		w.Server.Stop()
		return nil, fmt.Errorf("start weir: %w", err)
	}
	return w, nil
}

// ready lets the control plane answer and waits until weir serves.
func (w *weir) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	w.Open()
	return w.await(ctx, func() bool {
		body, err := w.get(ctx, "/ready")
		return err == nil && strings.TrimSpace(body) == "LIVE"
	})
}

// await asks every now and then until enough is true.
func (w *weir) await(ctx context.Context, enough func() bool) error {
	for !enough() {
		if err := w.Failure(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for weir: %w\n%s", ctx.Err(), w.said())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return w.Failure()
}

// said is the end of weir's log, for messages.
func (w *weir) said() []byte {
	said, _ := os.ReadFile(w.log) // without it the message is shorter
	return said[max(0, len(said)-4000):]
}

// running is a weir that serves a fleet.
func (b *bench) running(ctx context.Context, f fleet) (*weir, error) {
	w, err := b.start(f)
	if err != nil {
		return nil, err
	}
	if err := w.ready(ctx); err != nil {
		return nil, errors.Join(err, w.stop())
	}
	return w, nil
}

// stop ends weir and its control plane.
func (w *weir) stop() error {
	err := w.process.Process.Signal(syscall.SIGTERM)
	if err == nil || errors.Is(err, os.ErrProcessDone) {
		_ = w.process.Wait() // its status says only how it was stopped
		err = nil
	}
	w.Server.Stop()
	return err
}

func (w *weir) cpu() (time.Duration, error) { return measure.CPU(w.process.Process.Pid) }

// spent is the CPU time of weir while work is done.
func (w *weir) spent(work func() error) (time.Duration, error) {
	before, err := w.cpu()
	if err != nil {
		return 0, err
	}
	if err := work(); err != nil {
		return 0, err
	}
	after, err := w.cpu()
	return after - before, err
}

// get asks the admin interface.
func (w *weir) get(ctx context.Context, path string) (string, error) {
	return w.ask(ctx, http.MethodGet, path)
}

func (w *weir) ask(ctx context.Context, method, path string) (string, error) {
	var body strings.Builder
	err := w.copied(ctx, method, path, &body)
	return body.String(), err
}

// copied asks and copies the answer.
func (w *weir) copied(ctx context.Context, method, path string, to io.Writer) error {
	r, err := http.NewRequestWithContext(ctx, method, w.url(path), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(to, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d", path, resp.StatusCode)
	}
	return err
}

// url is a page of the admin interface.
func (w *weir) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", w.admin, path) }

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func (w *weir) bootstrap() string {
	return fmt.Sprintf(`node: {id: bench, cluster: bench}
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: %d}}
  profile_path: %s
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{envoy_grpc: {cluster_name: xds}}]
  cds_config: {ads: {}, resource_api_version: V3}
  lds_config: {ads: {}, resource_api_version: V3}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: xds
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]
`, w.admin, filepath.Join(w.dir, "profile"), w.Port())
}
