// Package pin keeps kernel state of weir on a BPF file system (bpffs), so that it outlives the daemon: the links by which
// programs are attached, and the maps that know of connections under way.
//
// It owns the directories and their names, the lock that says whose they are, and the rule for what another version left
// there. It must not know which programs and maps there are, nor what they do; pkg/kernel/attach tells it.
//
// # Layout
//
//	BPFFS/weir/INSTANCE/              locked (flock) by the daemon that owns the state
//	BPFFS/weir/INSTANCE/LAYOUT/       one version of the state; LAYOUT is a hash, see Layout
//	    map_NAME                      a map
//	    link_CGROUP_HOOK              a link: the cgroup's id and the hook's name
//	    link_NAME                     a link of something else
//
// A version's directory is made under the name new_PID and renamed when all maps are in it. There cannot be regular files on a
// bpffs, so that the names carry everything. Nothing in there is taken for what its name says before it has been checked.
//
// # Locking
//
// A Store is used by one goroutine at a time. Between processes the flock decides.
package pin
