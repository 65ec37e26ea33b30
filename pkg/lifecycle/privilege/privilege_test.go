package privilege

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// dropVariable asks the test binary to drop privileges and print what its threads have then.
const dropVariable = "WEIR_TEST_DROP"

func TestMain(m *testing.M) {
	if os.Getenv(dropVariable) == "" {
		os.Exit(m.Run())
	}
	report, err := dropAndLook()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		panic(err)
	}
}

// report is what a process that has dropped its privileges says.
type report struct {
	State   State
	Threads []string
	// Unsupported is set in a binary with cgo.
	Unsupported bool
	// Mark is what setting SO_MARK ended with, Mount what mounting ended with, Child what a child process has.
	Mark, Mount, Child string
}

func dropAndLook() (report, error) {
	// Threads that were there before, and one that is locked.
	release := make(chan struct{})
	defer close(release)
	for range 4 {
		ready := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(ready)
			<-release
		}()
		<-ready
	}
	state, err := Drop(Needs{Intercept: true}.Capabilities())
	if errors.Is(err, syscall.ENOTSUP) {
		return report{Unsupported: true}, nil
	}
	if err != nil {
		return report{}, err
	}
	out := report{State: state}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return out, err
	}
	for _, task := range tasks {
		lines, err := capabilityLines("/proc/self/task/" + task.Name() + "/status")
		if err != nil {
			return out, err
		}
		if !slices.Contains(out.Threads, lines) {
			out.Threads = append(out.Threads, lines)
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return out, err
	}
	defer unix.Close(fd)
	out.Mark = fmt.Sprint(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 7))
	out.Mount = fmt.Sprint(unix.Mount("none", "/mnt", "tmpfs", 0, ""))
	child, err := exec.Command("grep", "-E", "^(Cap|NoNew)", "/proc/self/status").Output()
	out.Child = strings.Join(strings.Fields(string(child)), " ")
	return out, err
}

func capabilityLines(path string) (string, error) {
	text, err := os.ReadFile(path)
	var out []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "Cap") || strings.HasPrefix(line, "NoNewPrivs") {
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(out, " "), err
}

// TestDrop drops the privileges of a process and looks at each of its threads, and at its child.
func TestDrop(t *testing.T) {
	before, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), dropVariable+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got.Unsupported {
		t.Skip("this binary was built with cgo, which Drop does not support")
	}
	kept := Needs{Intercept: true}.Capabilities() & before.Permitted
	hex := fmt.Sprintf("%016x", uint64(kept))
	none := strings.Repeat("0", 16)
	line := fmt.Sprintf("CapInh: %s CapPrm: %s CapEff: %s CapBnd: %016x CapAmb: %s NoNewPrivs: 1", none, hex, hex, uint64(before.Bounding&kept), none)
	want := report{
		State:   State{Permitted: kept, Bounding: before.Bounding & kept, NoNewPrivileges: true},
		Threads: []string{line}, Mark: "<nil>", Mount: "operation not permitted", Child: line,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestNeeds(t *testing.T) {
	const always = "CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_NET_BIND_SERVICE CAP_NET_ADMIN "
	for _, tt := range []struct {
		name  string
		needs Needs
		want  string
	}{
		{"an ordinary proxy", Needs{}, always + "CAP_SYS_RESOURCE"},
		{"its own namespace", Needs{Intercept: true}, always + "CAP_NET_RAW CAP_SYS_RESOURCE CAP_PERFMON CAP_BPF"},
		{"all namespaces", Needs{Intercept: true, Namespaces: true}, always + "CAP_NET_RAW CAP_SYS_PTRACE CAP_SYS_ADMIN CAP_SYS_RESOURCE CAP_PERFMON CAP_BPF"},
		{"a file system", Needs{Intercept: true, Mount: true}, always + "CAP_NET_RAW CAP_SYS_ADMIN CAP_SYS_RESOURCE CAP_PERFMON CAP_BPF"},
	} {
		if got := tt.needs.Capabilities().String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if got := Set(0).String() + " " + Of(63).String(); got != "none CAP_63" {
		t.Error(got)
	}
}
