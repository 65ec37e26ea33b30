// Package census knows in which network namespaces the processes of chosen cgroups live.
//
// It owns the watching: inotify on the cgroups, a regular look at everything as a safety net, and repeated looks at a cgroup that
// has just changed, since a container's process is put into its cgroup before it goes to its network namespace. It must not know
// BPF, sockets or configuration. It opens no namespace, and so keeps none alive.
//
// One goroutine does all the work and the calling back; the exported methods may be called from any goroutine.
package census

import (
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
)

const (
	// interval is how often everything is looked at, whatever inotify says.
	interval = 2 * time.Second
	// linger is how long a namespace counts after the last process was seen in it: commands that follow each other in a named
	// namespace find it served.
	linger = time.Second
	// leisure bounds the share of a processor that a stream of events costs: a round is followed by a pause of so many times its
	// length, and at least of minPause.
	leisure  = 4
	minPause = 5 * time.Millisecond
)

// settling is when a cgroup that has changed is looked at again, counted from the look before. A runtime on a busy host takes its time
// between putting a process into its cgroup and into its namespace, and the process may connect soon after that.
var settling = [...]time.Duration{
	10 * time.Millisecond, 40 * time.Millisecond, 100 * time.Millisecond, 150 * time.Millisecond,
	200 * time.Millisecond, 250 * time.Millisecond, 250 * time.Millisecond,
}

// Resident says why a namespace counts: one of the tasks in it, or the file that stands for it.
type Resident struct {
	// Task is a process or thread id, 0 for a namespace that was found by its file.
	Task int
	// Cgroup is the directory of the task's cgroup, Path the file.
	Cgroup, Path string
}

// Options are what a Census needs. Hierarchy, Log and Found are required.
type Options struct {
	Hierarchy *cgroup.Hierarchy
	Log       *slog.Logger
	// Changed is called when cgroups came or went, before namespaces are looked for; it may be nil.
	Changed func()
	// Found is called after each look with all namespaces that are lived in.
	Found func(map[netns.ID]Resident)
}

// Census watches.
type Census struct {
	opt     Options
	watcher *cgroup.Watcher // nil when there is no inotify to be had
	wake    chan struct{}   // capacity 1
	stop    chan struct{}
	done    sync.WaitGroup

	mu      sync.Mutex
	pending pending

	// The rest belongs to the goroutine.
	patterns, paths []string
	places          map[string]place
	dirty           map[string]due
	tasks           map[int]netns.ID
	seen            map[netns.ID]time.Time
	why             map[netns.ID]Resident
	full, reported  time.Time // when everything was looked at, and when Found was called
	limited         bool      // inotify's limit was reached and told of
	blind           bool      // hidden has spoken
}

// anyPath stands in dirty for the files of namespaces: such a file is made first, and then the namespace is mounted on it.
const anyPath = ""

// pending is what the goroutine is to do.
type pending struct {
	follow          bool
	patterns, paths []string
	tree            bool
	dirs            map[string]struct{}
	tasks           []int
	done            []chan struct{} // closed afterwards
}

// place is who lives in the namespaces that the processes of a cgroup are in.
type place map[netns.ID]int

// due is when a cgroup is looked at again, the how manyth time.
type due struct {
	at    time.Time
	times int
}

// New starts a census of nothing.
func New(opt Options) *Census {
	c := &Census{
		opt: opt, wake: make(chan struct{}, 1), stop: make(chan struct{}), places: make(map[string]place),
		dirty: make(map[string]due), tasks: make(map[int]netns.ID), seen: make(map[netns.ID]time.Time), why: make(map[netns.ID]Resident),
	}
	var err error
	if c.watcher, err = cgroup.NewWatcher(c.event); err != nil {
		opt.Log.Warn("containers are noticed late", "after", interval, "error", err)
	}
	c.done.Go(c.run)
	return c
}

// Follow says whose namespaces to look for: those of the processes in and below the cgroups that match patterns
// (cgroup.Hierarchy.Resolve), and those whose files match paths (filepath.Glob), whoever is in them. It returns after Found was
// called with them.
func (c *Census) Follow(patterns, paths []string) {
	done := make(chan struct{})
	c.ask(func(p *pending) {
		p.follow, p.patterns, p.paths = true, patterns, paths
		p.done = append(p.done, done)
	})
	select {
	case <-done:
	case <-c.stop:
	}
}

// Look has a task looked at that is in a namespace which nobody knew of. It counts as long as it is in that namespace, also when it
// is a thread that is elsewhere than the rest of its process.
func (c *Census) Look(task int) { c.ask(func(p *pending) { p.tasks = append(p.tasks, task) }) }

// Close ends the watching. Found is not called any more when it returns.
func (c *Census) Close() {
	close(c.stop)
	if c.watcher != nil {
		if err := c.watcher.Close(); err != nil {
			c.opt.Log.Warn("stop watching cgroups", "error", err)
		}
	}
	c.done.Wait()
}

func (c *Census) event(e cgroup.Event) {
	c.ask(func(p *pending) {
		if e.Tree {
			p.tree = true
			return
		}
		if p.dirs == nil {
			p.dirs = make(map[string]struct{})
		}
		p.dirs[e.Dir] = struct{}{}
	})
}

func (c *Census) ask(change func(*pending)) {
	c.mu.Lock()
	change(&c.pending)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Census) run() {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-c.wake:
		case <-timer.C:
		}
		began := time.Now()
		c.round(began)
		pause := max(leisure*time.Since(began), minPause)
		select {
		case <-c.stop:
			return
		case <-time.After(pause):
		}
		timer.Reset(max(time.Until(c.next()), minPause))
	}
}

// next is when there is something to do without being asked.
func (c *Census) next() time.Time {
	at := c.full.Add(interval)
	for _, d := range c.dirty {
		if d.at.Before(at) {
			at = d.at
		}
	}
	for _, last := range c.seen {
		if gone := last.Add(linger); last != c.reported && gone.Before(at) {
			at = gone
		}
	}
	return at
}

// round does what is to be done by now, and reports.
func (c *Census) round(now time.Time) {
	c.mu.Lock()
	todo := c.pending
	c.pending = pending{}
	c.mu.Unlock()
	if todo.follow {
		c.patterns, c.paths = todo.patterns, todo.paths
	}
	all := todo.follow || now.Sub(c.full) >= interval
	if all {
		c.full = now
	}
	if (all || todo.tree) && c.opt.Changed != nil {
		c.opt.Changed()
	}
	if all || todo.tree {
		c.survey(now, all)
	}
	if todo.tree && len(c.paths) > 0 {
		c.dirty[anyPath] = due{at: now}
	}
	for dir := range todo.dirs {
		if _, ours := c.places[dir]; ours {
			c.dirty[dir] = due{at: now}
		}
	}
	for dir, d := range c.dirty {
		if !d.at.After(now) {
			c.look(dir)
			c.again(dir, now, d.times)
		}
	}
	for _, task := range todo.tasks {
		if id, err := netns.OfProcessID(task); err == nil {
			c.tasks[task] = id
		}
	}
	c.report(now)
	for _, done := range todo.done {
		close(done)
	}
}

// again plans the next look at a cgroup that has changed.
func (c *Census) again(dir string, now time.Time, times int) {
	if times >= len(settling) {
		delete(c.dirty, dir)
		return
	}
	c.dirty[dir] = due{at: now.Add(settling[times]), times: times + 1}
}

// survey finds the cgroups. It looks into those that are new, and with all into each.
func (c *Census) survey(now time.Time, all bool) {
	tops, _, err := c.opt.Hierarchy.Resolve(c.patterns)
	if err != nil {
		c.opt.Log.Warn("look for cgroups", "error", err)
		return
	}
	watch, present := make(map[string]struct{}), make(map[string]struct{})
	for _, pattern := range c.patterns {
		for _, dir := range c.opt.Hierarchy.Parents(pattern) {
			watch[dir] = struct{}{}
		}
	}
	for _, path := range c.paths {
		watch[filepath.Dir(path)] = struct{}{}
	}
	for _, top := range tops {
		for _, dir := range cgroup.Subtree(top) {
			watch[dir], present[dir] = struct{}{}, struct{}{}
		}
	}
	c.watch(watch) // before anything is looked at, so that nothing is missed in between
	maps.DeleteFunc(c.places, func(dir string, _ place) bool { _, there := present[dir]; return !there })
	maps.DeleteFunc(c.dirty, func(dir string, _ due) bool { _, there := present[dir]; return !there && dir != anyPath })
	for dir := range present {
		if _, known := c.places[dir]; known && !all {
			continue
		} else if !known {
			c.dirty[dir] = due{at: now}
		}
		c.look(dir)
	}
}

func (c *Census) watch(dirs map[string]struct{}) {
	if c.watcher == nil {
		return
	}
	err := c.watcher.Watch(dirs)
	if err != nil && !c.limited {
		c.opt.Log.Warn("some containers are noticed late", "after", interval, "error", err)
	}
	c.limited = err != nil
}

// look finds the namespaces of a cgroup's processes. What has ended meanwhile is left out.
func (c *Census) look(dir string) {
	if dir == anyPath {
		return // report looks at all of them
	}
	found := make(place)
	pids, _ := cgroup.Processes(dir) // a cgroup that vanished has none
	for _, pid := range pids {
		if pid == 0 {
			c.hidden(dir)
			continue
		}
		if id, err := netns.OfProcessID(pid); err == nil {
			found[id] = pid
		}
	}
	c.places[dir] = found
}

// hidden says once that processes are in a pid namespace that weir does not see into.
func (c *Census) hidden(dir string) {
	if !c.blind {
		c.blind = true
		c.opt.Log.Warn("captured processes are not seen, nor which network namespaces they are in: weir needs the host's process ids", "cgroup", dir)
	}
}

// report says who lives where, and forgets what nobody lives in any more.
func (c *Census) report(now time.Time) {
	for dir, found := range c.places {
		for id, pid := range found {
			c.seen[id], c.why[id] = now, Resident{Task: pid, Cgroup: dir}
		}
	}
	for task, was := range c.tasks {
		if id, err := netns.OfProcessID(task); err != nil || id != was {
			delete(c.tasks, task)
			continue
		}
		if c.seen[was] != now {
			c.seen[was], c.why[was] = now, Resident{Task: task}
		}
	}
	for _, pattern := range c.paths {
		files, _ := filepath.Glob(pattern) // whoever gave the pattern has checked it
		for _, file := range files {
			if id, err := netns.Stat(file); err == nil {
				c.seen[id], c.why[id] = now, Resident{Path: file}
			}
		}
	}
	for id, last := range c.seen {
		if now.Sub(last) >= linger {
			delete(c.seen, id)
			delete(c.why, id)
		}
	}
	c.reported = now
	c.opt.Found(maps.Clone(c.why))
}
