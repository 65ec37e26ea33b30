// Kmatrix runs weir's kernel tests on other kernels: it boots Debian's kernel packages under QEMU's software emulation with a
// root file system that holds nothing but this program, the tests' binaries and what they call, and reports what passed.
//
// It needs qemu-system-x86_64, apt-get and dpkg-deb, and no privileges. A kernel takes several minutes: everything is emulated.
// The same program is the guest's init. What a kernel printed is kept in the work directory.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/verifiertest"
)

// kernels by the name that -kernels takes: the package whose dependency is the newest build of that series.
var kernels = []struct{ name, meta string }{
	{"6.1", "linux-image-cloud-amd64"},
	{"6.12", "linux-image-6.12-cloud-amd64"},
}

type matrix struct {
	dir     string
	only    string
	suites  string
	run     string
	limit   time.Duration
	verbose bool
	update  bool
}

func main() {
	if os.Getpid() == 1 {
		guest()
		return
	}
	var m matrix
	flag.StringVar(&m.dir, "dir", "bin/kmatrix", "where packages, tests and logs are kept")
	flag.StringVar(&m.only, "kernels", "", "series to test, separated by commas (6.1, 6.12); all when empty")
	flag.StringVar(&m.suites, "suites", "", "suites to run, separated by commas; all when empty")
	flag.StringVar(&m.run, "run", "", "tests to run, as -test.run takes it, in place of the suites' own choice")
	flag.DurationVar(&m.limit, "limit", 20*time.Minute, "how long one kernel may take")
	flag.BoolVar(&m.verbose, "v", false, "show what the kernels print while they run")
	flag.BoolVar(&m.update, "update", false, "write what the verifier took for each program into the golden files")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	ok, err := m.testAll(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "kmatrix: %v\n", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// testAll tests each kernel and reports whether all suites passed on all of them.
func (m *matrix) testAll(ctx context.Context) (bool, error) {
	chosen, err := m.suitesChosen()
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return false, fmt.Errorf("make work directory: %w", err)
	}
	root, err := m.buildRoot(ctx, chosen)
	if err != nil {
		return false, err
	}
	good, ran := true, 0
	for _, k := range kernels {
		if !listed(m.only, k.name) {
			continue
		}
		ran++
		results, err := m.test(ctx, k.name, k.meta, root)
		if err != nil {
			return false, fmt.Errorf("kernel %s: %w", k.name, err)
		}
		good = report(k.name, chosen, results) && good
		if err := m.golden(results); err != nil {
			return false, err
		}
	}
	if ran == 0 {
		return false, fmt.Errorf("no kernel is named %q", m.only)
	}
	return good, nil
}

// test boots one kernel.
func (m *matrix) test(ctx context.Context, name, meta string, root []byte) (map[string]result, error) {
	k, err := m.fetch(ctx, name, meta)
	if err != nil {
		return nil, err
	}
	image := filepath.Join(m.dir, "initramfs-"+name+".cpio")
	if err := k.image(root, image); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	fmt.Printf("kernel %s (%s): booting\n", name, k.release)
	return m.boot(ctx, k, image, filepath.Join(m.dir, "console-"+name+".log"))
}

// golden writes what programs cost on another kernel, when it is asked to.
func (m *matrix) golden(results map[string]result) error {
	for name, r := range results {
		if !m.update || len(r.costs) == 0 {
			continue
		}
		if err := verifiertest.Merge(filepath.Join(name, verifiertest.Golden), r.costs); err != nil {
			return fmt.Errorf("write golden file: %w", err)
		}
	}
	return nil
}

// report prints the outcome of each suite in the usual form of go test.
func report(kernel string, suites []suite, results map[string]result) bool {
	good := true
	for _, s := range suites {
		r, found := results[s.name]
		switch {
		case !found:
			fmt.Printf("FAIL\t%s\tkernel %s\tdid not end\n", s.name, kernel)
		case !r.ok:
			fmt.Printf("FAIL\t%s\tkernel %s\t%s\n", s.name, kernel, r.seconds)
			for _, t := range r.failed {
				fmt.Printf("\t%s\n", t)
			}
		default:
			fmt.Printf("ok  \t%s\tkernel %s\t%s\t%d passed, %d skipped\n", s.name, kernel, r.seconds, r.passed, r.skipped)
		}
		good = good && found && r.ok
	}
	return good
}

// listed tells whether a name is in a list with commas; everything is in the empty one.
func listed(list, name string) bool {
	if list == "" {
		return true
	}
	for n := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(n) == name {
			return true
		}
	}
	return false
}
