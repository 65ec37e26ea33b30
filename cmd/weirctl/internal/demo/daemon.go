package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/pkg/lifecycle/notify"
)

// Ports of the admin interfaces of the shop's weir, and of the ones that move files. They are free: the network namespace is new.
const (
	adminPort     = 9901
	fastAdminPort = 9902
)

// daemon is the weir of the demonstration.
type daemon struct {
	cmd    *exec.Cmd
	ended  chan error
	logs   *os.File
	client *http.Client
	admin  int // port
	// over is set when weir ended by itself and that has been told.
	over bool
}

// startDaemon starts weir, with its admin interface at a port, and returns when it serves. With an error comes the daemon if it was started: it must be stopped.
func startDaemon(ctx context.Context, dir, config string, admin int) (*daemon, error) {
	program, err := beside("weir")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "notify")
	ready, err := notify.Listen(socket)
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	d := &daemon{ended: make(chan error, 1), admin: admin}
	d.client = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	if d.logs, err = os.Create(filepath.Join(dir, "weir.log")); err != nil {
		return nil, fmt.Errorf("make log of weir: %w", err)
	}
	d.cmd = exec.Command(program, "-c", config, "-l", "info", "--file-flush-interval-msec", "50",
		"--drain-strategy", "immediate", "--drain-time-s", "1", "--base-id", strconv.Itoa(admin))
	d.cmd.Stdout, d.cmd.Stderr = d.logs, d.logs
	d.cmd.Env = append(os.Environ(), notify.Environment+"="+socket)
	// A process group of its own: Ctrl-C ends the story first. With this process it ends at once, and its programs with it.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start weir: %w", err), d.logs.Close())
	}
	go func() { d.ended <- d.cmd.Wait() }() // stop waits for it
	return d, d.awaitReady(ctx, ready)
}

func (d *daemon) awaitReady(ctx context.Context, ready *notify.Listener) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	live := make(chan error, 1)
	go func() { live <- ready.Wait(ctx, notify.Ready) }()
	select {
	case err := <-live:
		if err != nil {
			return fmt.Errorf("wait (at most %v) for weir to serve: %w", patience, err)
		}
		return nil
	case err := <-d.ended:
		d.over = true
		cancel()
		<-live
		return fmt.Errorf("weir ended at start: %w", exitReason(err))
	}
}

func exitReason(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// stop ends weir. The error tells that it did not end as it should.
func (d *daemon) stop() error {
	if d == nil {
		return nil
	}
	defer d.logs.Close()
	if d.over {
		return nil
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself, which Wait tells
	limit := time.NewTimer(patience / 2)
	defer limit.Stop()
	select {
	case err := <-d.ended:
		if err != nil {
			return fmt.Errorf("end weir: %w", err)
		}
		return nil
	case <-limit.C:
		_ = d.cmd.Process.Kill() // it may have just ended
		<-d.ended
		return errors.New("end weir: it did not end by itself, and was killed")
	}
}

// printLog prints the last lines of weir's log.
func (d *daemon) printLog(w io.Writer) {
	if d == nil {
		return
	}
	text, err := os.ReadFile(d.logs.Name())
	if err != nil || len(text) == 0 {
		return
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	fmt.Fprint(w, "\nThe end of weir's log:\n")
	for _, line := range lines[max(0, len(lines)-30):] {
		fmt.Fprintf(w, "   %s\n", line)
	}
}

// get asks the admin interface.
func (d *daemon) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", d.admin, path), nil)
	if err != nil {
		return nil, fmt.Errorf("ask weir's admin interface: %w", err)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask weir's admin interface: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("ask weir's admin interface for %s: status %d", path, resp.StatusCode), err)
	}
	return body, nil
}

// decisions is what the kernel decided so far, and by which rules.
type decisions struct {
	Active  bool `json:"active"`
	Cgroups []struct {
		Name string `json:"name"`
	} `json:"cgroups"`
	Rules []struct {
		Prefix   string `json:"prefix"`
		Port     uint16 `json:"port"`
		Action   string `json:"action"`
		Listener string `json:"listener"`
	} `json:"rules"`
	Reasons []struct {
		Reason string `json:"reason"`
		Count  uint64 `json:"count"`
		Text   string `json:"text"`
	} `json:"reasons"`
}

func (d *daemon) decisions(ctx context.Context) (out decisions, err error) {
	body, err := d.get(ctx, "/weir/interception")
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return out, fmt.Errorf("read decisions of the kernel: %w", err)
	}
	return out, nil
}

// count is how often a reason was given.
func (d decisions) count(reason string) uint64 {
	for _, r := range d.Reasons {
		if r.Reason == reason {
			return r.Count
		}
	}
	return 0
}

// stats returns the counters and gauges whose names contain a text; none of them is an error of the caller.
func (d *daemon) stats(ctx context.Context, filter string) (map[string]uint64, error) {
	body, err := d.get(ctx, "/stats?filter="+filter)
	if err != nil {
		return nil, err
	}
	out := make(map[string]uint64)
	for line := range strings.Lines(string(body)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			out[name] = n
		}
	}
	return out, nil
}
