package check_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/agent"
	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/config/check"
	"github.com/weir-proxy/weir/test/golden"
)

func newChecker(t testing.TB, o options.Options) *check.Checker {
	t.Helper()
	c, err := agent.NewChecker(&o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFiles checks each directory of testdata as one set and compares the findings with the file beside it.
func TestFiles(t *testing.T) {
	boots, err := filepath.Glob("testdata/*.dir")
	if err != nil || len(boots) < 5 {
		t.Fatalf("directories %v: %v", boots, err)
	}
	for _, dir := range boots {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var out strings.Builder
			for _, f := range newChecker(t, options.Options{}).Files([]string{dir}, func(path string, usable bool) { fmt.Fprintf(&out, "%s usable: %v\n", path, usable) }) {
				fmt.Fprintf(&out, "%s %s %s\n", f.Severity, f.Code, f)
				if f.Type != "" && !strings.Contains(f.String(), fmt.Sprintf("%s %q", f.Type, f.Name)) {
					t.Errorf("the text does not name the resource: %s", f)
				}
			}
			golden.Check(t, strings.TrimSuffix(dir, ".dir")+".golden", out.String())
		})
	}
}

// TestMerged checks that findings of a file with a text merged over it name the one that they are of.
func TestMerged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "boot.yaml")
	const base = `static_resources:
  clusters:
  - {name: one, type: STATIC, track_cluster_stats: {}, connect_timeout: -1s}
`
	if err := os.WriteFile(file, []byte(base), 0o600); err != nil {
		t.Fatal(err)
	}
	const over = `
admin: {address: {socket_address: {address: localhost, port_value: 1}}}
static_resources:
  clusters:
  - {name: two, type: STATIC, dns_lookup_family: V6_ONLY, upstream_config: {name: x}}
`
	b := newChecker(t, options.Options{ConfigPath: file, ConfigYAML: over}).Bootstrap()
	if b.Static != nil {
		t.Error("a bootstrap with errors is there")
	}
	text := map[string]bool{}
	for _, f := range b.Findings {
		text[strings.ReplaceAll(f.String(), file, "FILE")] = true
	}
	for _, want := range []string{
		`FILE:3:73: cluster "one": connect_timeout: value must be greater than 0s`,
		`--config-yaml:5:59: cluster "two": upstream_config: not supported by weir yet: the field has no effect`,
		`--config-yaml:2:45: admin.address.socket_address.address: malformed IP address: localhost`,
	} {
		if !text[want] {
			t.Errorf("%q is not among %v", want, slices.Sorted(maps.Keys(text)))
		}
	}
}

func TestUnreadable(t *testing.T) {
	c := newChecker(t, options.Options{ConfigPath: "testdata/nowhere.yaml"})
	if f := c.Bootstrap().Findings; f.Err() == nil || !strings.Contains(f.Error(), "no such file") {
		t.Errorf("bootstrap: %v", f)
	}
	if f := c.Files([]string{"testdata/nowhere.yaml"}, nil); f.Err() == nil || !strings.Contains(f.Error(), "no such file") {
		t.Errorf("files: %v", f)
	}
	var list check.Findings
	if err := c.Bootstrap().Findings.Err(); !errors.As(err, &list) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %T", err)
	}
}

// TestBounds gives text that is made to take long or much memory: each is refused soon.
func TestBounds(t *testing.T) {
	grow := func(levels int, first, format string) string {
		text := first
		for i := 1; i < levels; i++ {
			text += fmt.Sprintf(format, i, i-1)
		}
		return text + fmt.Sprintf("static_resources: {clusters: *a%[1]d}\nlayered_runtime: {layers: [{name: x, static_layer: {a: *a%[1]d}}]}\n", levels-1)
	}
	for name, text := range map[string]string{
		"aliases":            grow(12, "a0: &a0 [x,x,x,x,x,x,x,x,x]\n", "a%[1]d: &a%[1]d [*a%[2]d,*a%[2]d,*a%[2]d,*a%[2]d,*a%[2]d,*a%[2]d,*a%[2]d,*a%[2]d,*a%[2]d]\n"),
		"merge keys":         grow(20, "a0: &a0 {k: v}\n", "a%[1]d: &a%[1]d {<<: [*a%[2]d, *a%[2]d, *a%[2]d]}\n"),
		"deep":               "static_resources: " + strings.Repeat("{a: ", 5000) + strings.Repeat("}", 5000),
		"many unknown types": "static_resources: {clusters: [" + strings.Repeat(`{name: x, transport_socket: {name: y, typed_config: {"@type": type.googleapis.com/envoy.Listner}}},`, 3000) + "]}",
		"many misspellings":  "static_resources: {clusters: [" + strings.Repeat("{nam: x, typ: y},", 5000) + "]}",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := spent(t)
			findings := newChecker(t, options.Options{ConfigYAML: text}).Bootstrap().Findings
			if findings.Err() == nil || len(findings) > 3000 {
				t.Errorf("%d findings, error %v", len(findings), findings.Err() != nil)
			}
			runtime.ReadMemStats(&after)
			if d, mib := spent(t)-begin, (after.TotalAlloc-before.TotalAlloc)>>20; d > 20*time.Second || mib > 1024 {
				t.Errorf("took %v of CPU and %d MiB", d, mib)
			}
		})
	}
}

// spent is the CPU time of this process so far, which does not depend on what else the machine is busy with.
func spent(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// FuzzBootstrap gives arbitrary text to the whole way from a file to the model: the answer is findings, never a panic.
func FuzzBootstrap(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.yaml", "../translate/testdata/*.yaml"} {
		inputs, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, input := range inputs {
			src, err := os.ReadFile(input)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(src))
		}
	}
	f.Add("a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nstatic_resources: {clusters: *c}")
	f.Add(`{"static_resources": {"clusters": [{"name": "\ud83d\ude00"}]}}`)
	base := newChecker(f, options.Options{})
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(text, "*") > 20 {
			t.Skip("TestBounds has aliases that expand to much")
		}
		one := *base
		one.Load.InlineYAML = text
		b := one.Bootstrap()
		if (b.Static == nil) != (b.Findings.Err() != nil) {
			t.Errorf("static %v, findings %v", b.Static, b.Findings)
		}
		for _, finding := range b.Findings {
			if finding.Message == "" || finding.Code == "" || finding.Severity == "" {
				t.Errorf("incomplete: %+v", finding)
			}
		}
	})
}

// FuzzFiles does the same with a file of resources.
func FuzzFiles(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, input := range inputs {
		if src, err := os.ReadFile(input); err == nil {
			f.Add(string(src))
		}
	}
	c := newChecker(f, options.Options{})
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(text, "*") > 20 {
			t.Skip("TestBounds has aliases that expand to much")
		}
		file := filepath.Join(t.TempDir(), "resources.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, finding := range c.Files([]string{file}, nil) {
			if finding.Message == "" || finding.Code == "" || finding.File == "" {
				t.Errorf("incomplete: %+v", finding)
			}
		}
	})
}

// TestLiterals checks that what looks like a variable is left to whom it is for.
func TestLiterals(t *testing.T) {
	b := newChecker(t, options.Options{ConfigPath: "testdata/istio.dir/envoy.yaml", ServiceZone: "$(ZONE)"}).Bootstrap()
	node := b.Message.GetNode()
	if got := node.GetMetadata().GetFields()["NAME"].GetStringValue(); got != "$(POD_NAME)" {
		t.Errorf("metadata %q", got)
	}
	if node.GetLocality().GetZone() != "$(ZONE)" || node.GetLocality().GetRegion() != "r" || node.GetId() != "sidecar~10.0.0.1~web-1.default~default.svc.cluster.local" {
		t.Errorf("node %v", node)
	}
	version := node.GetUserAgentBuildVersion()
	if node.GetUserAgentName() != "envoy" || version.GetVersion().GetMinorNumber() != 32 || version.GetMetadata().GetFields()["weir.version"] == nil {
		t.Errorf("user agent %s %v", node.GetUserAgentName(), version)
	}
	if !slices.Contains(node.GetClientFeatures(), "xds.config.resource-in-sotw") || len(node.GetExtensions()) < 40 {
		t.Errorf("features %q, %d extensions", node.GetClientFeatures(), len(node.GetExtensions()))
	}
}
