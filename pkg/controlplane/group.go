package controlplane

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Directories of a tree with groups that are no groups themselves.
const (
	// sharedDir holds what every client gets.
	sharedDir = "_shared"
	// defaultDir holds what the clients get that have no group of their own.
	defaultDir = "_default"
)

// GroupBy says what of a client's node names its group. The zero value puts all clients together.
type GroupBy struct {
	// by is "cluster", "id" or "metadata"; "" is none.
	by string
	// key leads through the node's metadata.
	key []string
}

// ParseGroupBy reads cluster, id or metadata:KEY, where KEY may lead into nested metadata with dots. "" is no groups.
func ParseGroupBy(text string) (GroupBy, error) {
	by, key, keyed := strings.Cut(text, ":")
	switch {
	case by == "metadata" && key != "":
		return GroupBy{by, strings.Split(key, ".")}, nil
	case !keyed && (by == "cluster" || by == "id" || by == ""):
		return GroupBy{by: by}, nil
	case by == "metadata":
		return GroupBy{}, errors.New("group by metadata: write metadata:KEY")
	}
	return GroupBy{}, fmt.Errorf("group by %q: it is cluster, id or metadata:KEY", text)
}

// String is the text that ParseGroupBy reads.
func (g GroupBy) String() string {
	if len(g.key) == 0 {
		return g.by
	}
	return g.by + ":" + strings.Join(g.key, ".")
}

// enabled tells whether there are groups.
func (g GroupBy) enabled() bool { return g.by != "" }

// of names the group of a client; "" is none.
func (g GroupBy) of(n *corev3.Node) string {
	switch g.by {
	case "cluster":
		return n.GetCluster()
	case "id":
		return n.GetId()
	case "metadata":
		fields := n.GetMetadata().GetFields()
		for i, k := range g.key {
			v := fields[k]
			if i == len(g.key)-1 {
				return v.GetStringValue()
			}
			fields = v.GetStructValue().GetFields()
		}
	}
	return everyone
}

// place says for whom the files of a directory are.
type place struct {
	// group is their group; everyone together with shared is all groups.
	group  string
	shared bool
}

// place is that of a directory right below the tree's root; "" is the root itself.
func (g GroupBy) place(dir string) (place, error) {
	switch {
	case !g.enabled():
		return place{group: everyone}, nil
	case dir == "" || dir == sharedDir:
		return place{group: everyone, shared: true}, nil
	case dir == defaultDir:
		return place{group: everyone}, nil
	case strings.HasPrefix(dir, "_"):
		return place{}, fmt.Errorf("%s is not the name of a group: of names that begin with _ there are %s and %s (write %%5F for a group's own)", dir, sharedDir, defaultDir)
	}
	name, err := url.PathUnescape(dir)
	if err != nil {
		return place{}, fmt.Errorf("read the name of group %s: %w", dir, err)
	}
	return place{group: name}, nil
}
