package program

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Holders lists the processes that hold descriptors of each of these programs, in ascending order: /proc/PID/fdinfo names a program by
// its id (Linux 4.13). Those of other users, and of other pid namespaces, may not be seen; a program that only links or pins keep has none.
func Holders(ids ...uint32) map[uint32][]int {
	out := make(map[uint32][]int)
	files, err := filepath.Glob("/proc/[0-9]*/fdinfo/*")
	if err != nil || len(ids) == 0 {
		return out
	}
	for _, path := range files {
		id := heldBy(path)
		if !slices.Contains(ids, id) || id == 0 {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		if err == nil && !slices.Contains(out[id], pid) {
			out[id] = append(out[id], pid)
		}
	}
	for _, pids := range out {
		slices.Sort(pids)
	}
	return out
}

// heldBy is the id of the program that a descriptor is of, 0 for other ones and for those of links, which name their program, too.
func heldBy(fdinfo string) uint32 {
	text, err := os.ReadFile(fdinfo)
	if err != nil || strings.Contains(string(text), "link_type:") {
		return 0
	}
	_, rest, found := strings.Cut(string(text), "\nprog_id:")
	if !found {
		return 0
	}
	line, _, _ := strings.Cut(rest, "\n")
	id, err := strconv.ParseUint(strings.TrimSpace(line), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(id)
}
