// Package archcheck holds the directions in which weir's packages may import each other, as a test.
//
// The rules are those of ARCHITECTURE.md; a change here is a change of the architecture.
package archcheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/weir-proxy/weir/"

// rule says that packages below From must not import anything below Not, except those below But.
type rule struct {
	from, not string
	but       []string
	except    []string // packages below from that the rule does not hold for
	why       string
}

var rules = []rule{
	{from: "pkg/config/model", not: module, why: "the model is a leaf"},
	{from: "pkg/observe/stats", not: module, why: "the statistics store is a leaf"},
	{from: "pkg/observe/log", not: module, why: "the log is a leaf"},
	{from: "pkg/proxy/streaminfo", not: module, why: "stream info is a leaf"},
	{from: "pkg/proxy/http/message", not: module, why: "the message model is a leaf"},
	{from: "pkg/proxy", not: module + "pkg/kernel", why: "proxy and kernel do not know each other"},
	{from: "pkg/kernel", not: module + "pkg/proxy", why: "proxy and kernel do not know each other"},
	{from: "pkg/proxy", not: module + "pkg/agent", why: "only commands know the agent"},
	{from: "pkg/kernel", not: module + "pkg/config", but: []string{module + "pkg/config/model"}, why: "the kernel side knows the model alone"},
	{from: "pkg/proxy", not: module + "pkg/config", but: []string{module + "pkg/config/model", module + "pkg/config/extension"}, why: "the proxy knows the model alone"},
	{from: "pkg/observe/admin", not: module + "pkg/proxy", but: []string{module + "pkg/proxy/streaminfo"}, why: "admin sees interfaces that it declares itself"},
	{from: "pkg/observe/admin", not: module + "pkg/kernel", why: "admin sees interfaces that it declares itself"},
	{
		from: "", not: "github.com/cilium/ebpf",
		except: []string{
			"pkg/kernel/accel", "pkg/kernel/attach", "pkg/kernel/intercept", "pkg/kernel/inbound", "pkg/kernel/datagram",
			"pkg/kernel/events", "pkg/kernel/pin", "pkg/kernel/probe", "pkg/kernel/program",
			"pkg/kernel/kerneltest", "pkg/kernel/verifiertest", "tools/generate",
		},
		why: "few packages talk to the kernel's BPF",
	},
	{
		from: "pkg/proxy", not: "google.golang.org/protobuf", except: []string{"pkg/proxy/filter", "pkg/proxy/matcher"},
		why: "protobuf ends at the configuration",
	},
	{from: "pkg/kernel", not: "google.golang.org/protobuf", why: "protobuf ends at the configuration"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func TestImportDirections(t *testing.T) {
	packages := list(t)
	if len(packages) < 10 {
		t.Fatalf("go list named %d packages; the check would be empty", len(packages))
	}
	for _, p := range packages {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, r := range rules {
			if !below(path, r.from) || anyBelow(path, r.except) {
				continue
			}
			for _, imported := range p.Imports {
				if below(imported, r.not) && !anyBelow(imported, r.but) && !sameTree(imported, r.from) {
					t.Errorf("%s imports %s: %s", p.ImportPath, imported, r.why)
				}
			}
		}
	}
}

// sameTree tells whether an imported package belongs to the tree that the rule is about: a tree may use itself.
func sameTree(imported, from string) bool {
	return from != "" && below(imported, module+from)
}

func below(path, tree string) bool {
	tree = strings.TrimSuffix(tree, "/")
	return tree == "" || path == tree || strings.HasPrefix(path, tree+"/")
}

func anyBelow(path string, trees []string) bool {
	for _, tree := range trees {
		if below(path, tree) {
			return true
		}
	}
	return false
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list packages: %v\n%s", err, stderr.String())
	}
	var packages []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		packages = append(packages, p)
	}
}
