package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// order is the shop's application: curl, started in the cgroup whose connections are captured.
type order struct {
	cgroup *os.File
	env    []string
}

func newOrder(p place) (*order, error) {
	f, err := os.Open(p.group)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	// No proxy variables and no .curlrc: nothing but the kernel may bring curl to its destination.
	return &order{f, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "LC_ALL=C"}}, nil
}

// curled is what curl told.
type curled struct {
	out, err string
	status   int // exit status
}

// answer is one response as curl saw it.
type answer struct {
	status int
	peer   string // address and port that curl believes to be connected to
	body   string
}

// mark begins the line that curl writes after each response; no body holds it.
const mark = "\x01"

// curl runs curl in the cgroup, or outside of it. An error tells that it could not be run; its own failure is in its status.
func (o *order) curl(ctx context.Context, captured bool, args ...string) (curled, error) {
	args = append([]string{"-sS", "--max-time", "30", "-w", mark + "%{http_code} %{remote_ip} %{remote_port}\n"}, args...)
	cmd := exec.CommandContext(ctx, "curl", args...)
	cmd.Env = o.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if captured {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(o.cgroup.Fd())
	}
	cmd.WaitDelay = time.Second
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return curled{}, ctx.Err()
	}
	if err != nil && !errors.As(err, &exit) {
		return curled{}, fmt.Errorf("run curl: %w", err)
	}
	return curled{out.String(), strings.TrimSpace(stderr.String()), cmd.ProcessState.ExitCode()}, nil
}

// answers reads what curl wrote to its standard output: bodies, each followed by a marked line.
func answers(out string) []answer {
	var list []answer
	parts := strings.Split(out, mark)
	body := parts[0]
	for _, part := range parts[1:] {
		line, rest, _ := strings.Cut(part, "\n")
		a := answer{body: strings.TrimSpace(body)}
		if f := strings.Split(line, " "); len(f) == 3 {
			a.status, _ = strconv.Atoi(f[0]) // 0 is a failure like any other
			a.peer = f[1] + ":" + f[2]
			if strings.Contains(f[1], ":") {
				a.peer = "[" + f[1] + "]:" + f[2]
			}
		}
		list = append(list, a)
		body = rest
	}
	return list
}

// tally counts answers: those of each version, and those that are not what they should be.
type tally struct {
	by     map[string]int
	failed int
	total  int
	// why describes the first failure.
	why string
}

func (t *tally) add(c curled) {
	list := answers(c.out)
	if c.status != 0 && t.why == "" {
		t.why = fmt.Sprintf("curl ended with status %d: %s", c.status, firstLine(c.err))
	}
	for _, a := range list {
		t.total++
		by, _, ok := strings.Cut(a.body, ": ")
		if a.status != 200 || !ok {
			t.failed++
			if t.why == "" {
				t.why = fmt.Sprintf("status %d, body %q", a.status, firstLine(a.body))
			}
			continue
		}
		if t.by == nil {
			t.by = make(map[string]int)
		}
		t.by[by]++
	}
	if c.status != 0 && len(list) == 0 {
		t.total++
		t.failed++
	}
}

// trouble is a text that follows a failed check.
func (t *tally) trouble() string {
	if t.why == "" {
		return ""
	}
	return " (" + t.why + ")"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
