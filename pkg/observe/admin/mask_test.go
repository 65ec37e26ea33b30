package admin

import (
	"strings"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// FuzzMask applies any mask to a resource and to a section: it must not panic, and what it leaves must be a part of what was there.
func FuzzMask(f *testing.F) {
	for _, mask := range []string{
		"", ",", ".", "cluster", "cluster.name", "cluster.name,version_info", "cluster.", "cluster.name.x", "last_updated.seconds", "cluster.hosts.x",
		"error_state.failed_configuration.name", "cluster..name", "\xff", "static_clusters.cluster", "version_info,,static_clusters",
	} {
		f.Add(mask)
	}
	cluster := mustPack(&clusterv3.Cluster{Name: "web", AltStatName: "w", ConnectTimeout: durationpb.New(1)})
	f.Fuzz(func(t *testing.T, mask string) {
		whole := &adminv3.ClustersConfigDump_DynamicCluster{
			VersionInfo: "v", Cluster: cluster, LastUpdated: timestamppb.New(epoch()),
			ErrorState: &adminv3.UpdateFailureState{FailedConfiguration: cluster, Details: "d"},
		}
		part, ok := proto.Clone(whole).(*adminv3.ClustersConfigDump_DynamicCluster)
		if !ok {
			t.Fatal("a copy of another type")
		}
		if maskResource(part.ProtoReflect(), mask) {
			out, err := printable(part)
			if err != nil {
				t.Fatalf("%q: %v", mask, err)
			}
			if strings.Contains(string(out), `"alt_stat_name"`) && !strings.Contains(mask, "cluster") && !strings.Contains(mask, "error_state") && strings.Trim(mask, ",") != "" {
				t.Fatalf("%q keeps %s", mask, out)
			}
			// What a mask leaves, it leaves as it is when it is applied again.
			again := proto.Clone(part)
			if !maskResource(again.ProtoReflect(), mask) || !proto.Equal(again, part) {
				t.Fatalf("%q twice is not %q once", mask, mask)
			}
		}
		sections := []Section{section(&adminv3.ClustersConfigDump{
			VersionInfo: "v", StaticClusters: []*adminv3.ClustersConfigDump_StaticCluster{{Cluster: cluster}},
		})}
		if kept, no := maskAll(sections, mask); no == nil && (len(kept) != 1 || len(kept[0].Lists) > 1) {
			t.Fatalf("%q gives %v", mask, kept)
		}
	})
}
