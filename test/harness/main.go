package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/probe"
)

// Environment variables by which the harness speaks to itself in other functions and processes.
const (
	roleVariable = "WEIR_HARNESS_ROLE"
	binVariable  = "WEIR_HARNESS_BIN"
)

// Main runs the tests of a package and returns the exit status for os.Exit. It builds weir and weirctl once, and fails the run
// when cgroups or processes of it are left. Without root there are no namespaces, and it says so and runs nothing.
func Main(m *testing.M) int {
	if role := os.Getenv(roleVariable); role != "" {
		return runRole(role)
	}
	if os.Geteuid() != 0 {
		fmt.Println("end-to-end tests skipped: they make network namespaces, which needs root")
		return 0
	}
	if os.Getenv(binVariable) != "" { // built elsewhere, for a machine without Go
		return check(m.Run())
	}
	bin, err := os.MkdirTemp("", "weir-e2e-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	if err := build(bin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv(binVariable, bin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return check(m.Run())
}

// check adds what the tests left behind to their status.
func check(status int) int {
	for _, leak := range leftovers() {
		fmt.Fprintln(os.Stderr, "left behind:", leak)
		status = max(status, 1)
	}
	return status
}

// Raced tells that weir was built with the race detector, which multiplies the memory that it needs.
func Raced() bool { return raceEnabled }

// build compiles both programs into dir, which ordinary users may look into.
func build(dir string) error {
	args := []string{"build"}
	if raceEnabled {
		args = append(args, "-race")
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	cmd := exec.Command("go", append(args, "-o", dir+"/", "./cmd/weir", "./cmd/weirctl")...)
	cmd.Dir = root
	if !raceEnabled { // as the Makefile builds them
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build weir: %w\n%s", err, out)
	}
	return os.Chmod(dir, 0o755)
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		if dir == "/" {
			err = fmt.Errorf("find go.mod above the working directory: %w", os.ErrNotExist)
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// Binary is the path of a program that Main has built: "weir" or "weirctl".
func Binary(name string) string { return filepath.Join(os.Getenv(binVariable), name) }

// NeedInterception skips the test where the kernel cannot intercept, and says why.
func NeedInterception(t testing.TB) {
	t.Helper()
	for _, r := range probe.All() {
		if !r.OK && !r.Optional {
			t.Skipf("no interception here: %s: %s", r.Name, r.Missing)
		}
	}
}

// cgroupPrefix begins the names of this process's cgroups.
func cgroupPrefix() string { return fmt.Sprintf("weir-e2e-%d-", os.Getpid()) }

// leftovers lists cgroups and processes that tests of this process made and did not take away.
func leftovers() []string {
	var left []string
	if h, err := cgroup.Find(); err == nil {
		dirs, err := filepath.Glob(filepath.Join(h.Root(), cgroupPrefix()+"*"))
		if err == nil {
			for _, dir := range dirs {
				left = append(left, "cgroup "+dir)
			}
		}
	}
	return append(left, ownProcesses()...)
}

// ownProcesses lists processes that run the binaries built by this process.
func ownProcesses() []string {
	var left []string
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return nil
	}
	for _, link := range links {
		exe, err := os.Readlink(link)
		if err == nil && strings.HasPrefix(exe, os.Getenv(binVariable)+"/") {
			left = append(left, "process "+filepath.Base(filepath.Dir(link))+" "+exe)
		}
	}
	return left
}
