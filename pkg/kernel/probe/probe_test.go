package probe

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain prints the probes when it is the test's unprivileged child.
func TestMain(m *testing.M) {
	if os.Getenv("WEIR_TEST_ROLE") == "unprivileged" {
		for _, r := range Missing() {
			os.Stdout.WriteString(r.Name + "\n")
		}
		return
	}
	os.Exit(m.Run())
}

func TestEverythingNeededIsHere(t *testing.T) {
	if missing := Missing(); len(missing) > 0 {
		t.Errorf("missing %+v: interception tests cannot pass", missing)
	}
	seen := make(map[string]bool)
	for _, r := range All() {
		if seen[r.Name] || r.Name == "" || r.Consequence == "" || r.OK == (r.Missing != "") {
			t.Errorf("result %+v is incomplete or there twice", r)
		}
		seen[r.Name] = true
	}
}

func TestWithoutPrivileges(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), "WEIR_TEST_ROLE=unprivileged")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	// What the kernel forbids to look at is not among what is missing.
	if want := "CAP_BPF or CAP_SYS_ADMIN\nCAP_NET_ADMIN\nCAP_PERFMON or CAP_SYS_ADMIN\n"; string(out) != want {
		t.Errorf("missing are %q, want %q", out, want)
	}
}

func TestUnavailable(t *testing.T) {
	privilege := Result{Name: "CAP_BPF", Privilege: true, Missing: "not there"}
	feature := Result{Name: "map type X", Missing: "not supported"}
	for name, test := range map[string]struct {
		missing []Result
		want    string
	}{
		"unexplained":        {nil, "it is not available: cause"},
		"feature":            {[]Result{feature}, "it is not available: needs map type X (not supported): cause"},
		"privilege":          {[]Result{privilege}, "it is not available: needs CAP_BPF (not there)"},
		"privilege, feature": {[]Result{privilege, feature}, "it is not available: needs CAP_BPF (not there), map type X (not supported)"},
	} {
		t.Run(name, func(t *testing.T) {
			cause := errors.New("cause")
			err := &UnavailableError{What: "it", Missing: test.missing, Err: cause}
			if err.Error() != test.want || !errors.Is(err, cause) {
				t.Errorf("error %q, want %q", err, test.want)
			}
		})
	}
}

func TestChecks(t *testing.T) {
	if err := atLeast(5, 15); err != nil {
		t.Error(err)
	}
	if err := atLeast(99, 0); err == nil {
		t.Error("this is Linux 99")
	}
	if err := fileLimit(1 << 62); err == nil {
		t.Error("RLIMIT_NOFILE is boundless")
	}
	if got := limits(unix.RLIMIT_NOFILE); !regexp.MustCompile(`^soft \d+, hard \d+$`).MatchString(got) {
		t.Errorf("limits of open files: %q", got)
	}
}

// TestDocumented compares the probes with the table that users read before they install.
func TestDocumented(t *testing.T) {
	const path = "../../../docs/kernel-support.md"
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		t.Skip("the documents are not beside the test")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range All() {
		if r.Needs == "" {
			continue
		}
		necessity := "required"
		if r.Optional {
			necessity = "optional"
		}
		if row := "| " + r.Name + " | " + r.Needs + " | " + necessity + " | " + r.Consequence + " |\n"; !strings.Contains(string(text), row) {
			t.Errorf("%s has no row\n%s", path, row)
		}
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"CGroupSockAddr": "CGROUP_SOCK_ADDR", "SockOps": "SOCK_OPS", "LRUHash": "LRU_HASH", "RingBuf": "RINGBUF", "ArrayOfMaps": "ARRAY_OF_MAPS",
	} {
		if got := constant(name); got != want {
			t.Errorf("constant(%q) = %q, want %q", name, got, want)
		}
	}
}
