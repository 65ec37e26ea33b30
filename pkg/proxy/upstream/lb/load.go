package lb

// availability counts the hosts of one priority.
type availability struct {
	total, healthy, degraded int
}

// load is the share of the traffic, in percent, that a priority gets for its healthy and its degraded hosts; panics tells
// that health is ignored there.
type load struct {
	healthy, degraded uint32
	panics            bool
}

// distribute computes the priority loads (Envoy docs, "Priority levels", "Degraded endpoints" and "Panic threshold").
// The loads sum up to 100 unless there are no hosts at all.
func distribute(counts []availability, overprovisioning uint32, panicThreshold float64) []load {
	loads := make([]load, len(counts))
	healthy, degraded := make([]uint32, len(counts)), make([]uint32, len(counts))
	sum := uint32(0)
	for i, c := range counts {
		if c.total == 0 {
			continue
		}
		healthy[i] = uint32(min(100, uint64(overprovisioning)*uint64(c.healthy)/uint64(c.total)))
		degraded[i] = uint32(min(100, uint64(overprovisioning)*uint64(c.degraded)/uint64(c.total)))
		sum = min(100, sum+healthy[i]+degraded[i])
	}
	if sum == 0 {
		distributeByCount(loads, counts, panicThreshold)
		return loads
	}
	left := uint32(100)
	for i := range loads {
		loads[i].healthy = min(left, healthy[i]*100/sum)
		left -= loads[i].healthy
	}
	for i := range loads {
		loads[i].degraded = min(left, degraded[i]*100/sum)
		left -= loads[i].degraded
	}
	giveRounding(loads, left)
	for i, c := range counts {
		loads[i].panics = sum < 100 && inPanic(c, panicThreshold)
	}
	return loads
}

// giveRounding adds what integer division left over to the first priority that has any load.
func giveRounding(loads []load, left uint32) {
	for i := range loads {
		if loads[i].healthy > 0 {
			loads[i].healthy += left
			return
		}
	}
	for i := range loads {
		if loads[i].degraded > 0 {
			loads[i].degraded += left
			return
		}
	}
}

// distributeByCount is for total panic: nobody is available, so every host counts the same.
func distributeByCount(loads []load, counts []availability, panicThreshold float64) {
	total := 0
	for _, c := range counts {
		total += c.total
	}
	if total == 0 {
		return
	}
	left := uint32(100)
	for i, c := range counts {
		loads[i].healthy = uint32(100 * c.total / total)
		left -= loads[i].healthy
		loads[i].panics = inPanic(c, panicThreshold)
	}
	giveRounding(loads, left)
}

func inPanic(c availability, threshold float64) bool {
	if c.total == 0 {
		return false
	}
	return 100*float64(c.healthy+c.degraded)/float64(c.total) < min(100, threshold)
}
