package soak

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// footprint is what weir holds at a quiet moment.
type footprint struct {
	files     []string
	allocated int // bytes
}

// allowance is how much more memory a quiet weir may hold than before: garbage that the collector has not seen yet, and tables
// that have grown once.
const allowance = 24 << 20

// quiet brings the first world back, waits until no connection is left, and tells what weir holds.
func (r *run) quiet(first *world) footprint {
	r.t.Helper()
	if r.t.Failed() {
		r.t.FailNow()
	}
	r.traffic = nil
	r.change([]*world{r.now, first}, " the first world", false)
	if _, err := until(settleTime, r.busy); err != nil {
		r.t.Fatalf("no quiet after %s: %v", settleTime, err)
	}
	return footprint{files: r.weir.Files(), allocated: r.allocated()}
}

// allocated are the bytes of live objects, and of those not collected yet.
func (r *run) allocated() int {
	r.t.Helper()
	var memory struct {
		Allocated string `json:"allocated"`
	}
	r.weir.JSON("/memory", &memory)
	n, err := strconv.Atoi(memory.Allocated)
	if err != nil {
		r.t.Fatalf("/memory: %v", err)
	}
	return n
}

// busy says what is still under way.
func (r *run) busy() error {
	for line := range strings.Lines(r.weir.Page("/stats")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		gauge := strings.HasSuffix(name, "_cx_active") || strings.HasSuffix(name, "_rq_active") || strings.HasSuffix(name, "_draining") ||
			strings.HasSuffix(name, "_pre_cx_active")
		if gauge && value != "0" && !strings.HasPrefix(name, "cluster.xds.") && !strings.Contains(name, "admin") {
			return fmt.Errorf("%s is %s", name, value)
		}
	}
	return nil
}

// noMoreThan fails when weir holds more than before.
func (r *run) noMoreThan(before footprint) {
	r.t.Helper()
	if _, err := until(settleTime, func() error {
		if now := r.weir.Files(); len(now) > len(before.files) {
			return fmt.Errorf("%d descriptors were %d: %v\nnow %v", len(now), len(before.files), before.files, now)
		}
		return nil
	}); err != nil {
		r.t.Error(err)
	}
	if _, err := until(settleTime, func() error {
		r.weir.Page("/config_dump") // is large, so that the garbage collector runs
		if now := r.allocated(); now > before.allocated+allowance {
			return fmt.Errorf("%d bytes are allocated, %d were before", now, before.allocated)
		}
		return nil
	}); err != nil {
		r.t.Error(err)
	}
}

// listening lists the ports on which weir's namespace has listening sockets, the backends' and the control plane's aside.
func (r *run) listening() ([]uint16, error) {
	var out []uint16
	for _, file := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", r.weir.Pid(), file))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			// proc_net_tcp(5): sl local_address rem_address st; 0A is LISTEN.
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != "0A" {
				continue
			}
			p, err := port(f[1])
			if err != nil {
				return nil, err
			}
			if p == 9901 || p >= 8000 && p < 9000 {
				out = append(out, p)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}
