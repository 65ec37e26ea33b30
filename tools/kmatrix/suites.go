package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// suite is a package's tests, as far as they make sense in a guest that has next to nothing.
type suite struct {
	name string // the package's folder
	// run is what -test.run gets, skip what -test.skip gets; empty for all, and for none.
	run, skip string
	// tools are programs that the tests call.
	tools []string
	// weir tells that the tests start weir and weirctl.
	weir bool
}

// suites are ordered so that what others rest on comes first.
var suites = []suite{
	{name: "pkg/kernel/probe"},
	{name: "pkg/kernel/cgroup"},
	{name: "pkg/kernel/netns"},
	{name: "pkg/kernel/intercept", tools: []string{"ip", "python3"}},
	{name: "pkg/kernel/inbound", tools: []string{"ip"}},
	{name: "pkg/kernel/datagram", tools: []string{"ip", "python3"}},
	{name: "pkg/kernel/pin"},
	{name: "pkg/kernel/accel", tools: []string{"ip"}},
	{name: "pkg/agent/acceleration", tools: []string{"ip"}},
	{name: "test/e2e", run: endToEnd, tools: []string{"ip", "curl", "python3", "sh", "env", "setpriv", "sleep", "cat", "date"}, weir: true},
}

// endToEnd are the end-to-end tests that show interception itself; the others do not depend on the kernel, and those of acceleration
// move too much for an emulated machine: its own suites are above.
const endToEnd = `^Test(Intercept|Capture|Offload|Inbound|Containers|Pod|UDP|Exec|Policy|Top|Explain|Events|OutlierDetectionOffloaded)`

func (m *matrix) suitesChosen() ([]suite, error) {
	var chosen []suite
	for _, s := range suites {
		if listed(m.suites, s.name) {
			if m.run != "" {
				s.run = m.run
			}
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no suite is named %q", m.suites)
	}
	return chosen, nil
}

// testBinary is where a suite's compiled tests are, in the work directory and in the guest alike.
func (s suite) testBinary() string { return filepath.Join("tests", s.name, "test") }

// buildRoot compiles this program, the tests and weir without C, and packs them with the tools that the tests call.
func (m *matrix) buildRoot(ctx context.Context, chosen []suite) ([]byte, error) {
	stage := filepath.Join(m.dir, "root")
	if err := os.RemoveAll(stage); err != nil {
		return nil, fmt.Errorf("clear root file system: %w", err)
	}
	a := newArchive()
	builds := [][]string{{"build", "-o", filepath.Join(stage, "init"), "./tools/kmatrix"}}
	tools := map[string]bool{}
	for _, s := range chosen {
		builds = append(builds, []string{"test", "-c", "-o", filepath.Join(stage, s.testBinary()), "./" + s.name})
		for _, t := range s.tools {
			tools[t] = true
		}
		if s.weir {
			builds = append(builds, []string{"build", "-o", filepath.Join(stage, "weir") + "/", "./cmd/weir", "./cmd/weirctl"})
		}
	}
	for _, args := range builds {
		if err := goTool(ctx, args...); err != nil {
			return nil, err
		}
	}
	if err := a.tree(stage, ""); err != nil {
		return nil, err
	}
	for _, s := range chosen {
		if data := filepath.Join(s.name, "testdata"); exists(data) {
			if err := a.tree(data, filepath.Join("tests", data)); err != nil {
				return nil, err
			}
		}
	}
	for t := range tools {
		pack := a.program
		if t == "python3" {
			pack = func(string) error { return a.python(ctx) }
		}
		if err := pack(t); err != nil {
			return nil, err
		}
	}
	if err := a.list("suites", chosen); err != nil {
		return nil, err
	}
	return a.bytes(), nil
}

func goTool(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s %s: %w\n%s", args[0], args[len(args)-1], err, out)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
