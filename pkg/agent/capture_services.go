package agent

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// collectInterval is how old statistics may get which nobody asks for. Health checks go by them: they are made less often while
// a cluster has no traffic.
const collectInterval = 5 * time.Second

// judgeInterval is how soon outlier detection learns what became of offloaded connections.
const judgeInterval = 250 * time.Millisecond

// steered is the kernel half that services and rules are put into, an *intercept.Interceptor.
type steered interface {
	Apply(plan *steer.Plan) error
	Update(before, plan *steer.Plan, change steer.Change) error
	ApplyServices(now []*steer.Service, gone []string) error
	ServiceStats(name string) (intercept.ServiceStats, bool)
	ServiceTotals(name string) (intercept.ServiceStats, bool)
}

// services keeps what the kernel is to do for the present configuration and hosts: the plan, and the services that it refers
// to. Whoever tells it of something new only marks that; settle does the work, once for all that was marked, in an order that
// makes before it breaks: services, then rules that refer to them, then what nobody refers to any more.
type services struct {
	log      *slog.Logger
	root     *stats.Scope
	runtime  *model.Runtime
	clusters func() *cluster.Manager

	// live is set while there is a kernel half to tell. dirty are the clusters whose hosts may have changed since the last
	// settle; wake tells the worker.
	live    atomic.Bool
	dirtyMu sync.Mutex
	dirty   map[string]struct{}
	wake    chan struct{}
	stop    chan struct{}
	working sync.WaitGroup

	// mu guards what follows. It is taken after Agent.mu, and before the locks of the kernel half.
	mu       sync.Mutex
	kernel   steered // nil before there is one, and when it is not to be told any more
	compiler *steer.Compiler
	specs    map[string]steer.Spec
	// pending are services to be made anew, gone such as the kernel is to forget.
	pending map[string]struct{}
	gone    map[string]struct{}
	made    map[string]*service
	// told is the plan that the kernel has, plan the one that it is to have; change leads from one to the other when only one
	// step did.
	told, plan *steer.Plan
	change     *steer.Change
	// refused is why the kernel did not take the rules of plan; nil when it did. hopeless is a plan with more rules than there is room
	// for, which lack tells of: the kernel is not asked again before another one comes that may fit.
	refused  error
	hopeless *steer.Plan
	lack     *intercept.FullError
	// heirs are what an earlier weir has offloaded; nil when there is nothing, or nothing any more.
	heirs *inheritance
}

// service is what the kernel was told of one, and who its connections are counted for.
type service struct {
	steer.Service
	counts *counts
}

func newServices(log *slog.Logger, root *stats.Scope, runtime *model.Runtime, clusters func() *cluster.Manager) *services {
	empty := &steer.Plan{}
	return &services{
		log: log, root: root, runtime: runtime, clusters: clusters,
		dirty: make(map[string]struct{}), wake: make(chan struct{}, 1), stop: make(chan struct{}),
		compiler: steer.NewCompiler(), specs: make(map[string]steer.Spec),
		told: empty, plan: empty, pending: make(map[string]struct{}), gone: make(map[string]struct{}), made: make(map[string]*service),
	}
}

// changed marks a cluster; "" has only the runtime looked at again. It may be called with any lock held but dirtyMu.
func (s *services) changed(name string) {
	if !s.live.Load() {
		return
	}
	s.dirtyMu.Lock()
	if name != "" {
		s.dirty[name] = struct{}{}
	}
	s.dirtyMu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// snapshot makes a configuration the present one; the kernel learns it by settle. The plan says what is captured.
func (s *services) snapshot(snap *model.Snapshot) (*steer.Plan, []steer.Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.compiler.Snapshot(snap)
	s.take(&u)
	return s.compiler.Plan(), u.Notices
}

// take notes what a step of the compiler wants done.
func (s *services) take(u *steer.Update) {
	for _, spec := range u.Services {
		s.specs[spec.Name] = spec
		s.pending[spec.Name] = struct{}{}
		delete(s.gone, spec.Name)
	}
	for _, name := range u.GoneServices {
		delete(s.specs, name)
		delete(s.pending, name)
		s.gone[name] = struct{}{}
	}
	if u.Empty() {
		return
	}
	s.change = nil
	if s.plan == s.told {
		s.change = &u.Change
	}
	if s.plan == s.hopeless && !s.mayFit(u) {
		s.hopeless = u.Plan
	}
	s.plan = u.Plan
}

// review makes the services anew that were marked, and says of each whether it is fit. The caller holds mu.
func (s *services) review() []*steer.Service {
	s.dirtyMu.Lock()
	dirty := s.dirty
	s.dirty = make(map[string]struct{})
	s.dirtyMu.Unlock()
	for name := range dirty {
		for _, spec := range s.compiler.UsersOf(name) {
			s.pending[spec.Name] = struct{}{}
		}
	}
	if _, limited := s.runtime.Number(model.RuntimeGlobalLimit); limited {
		s.compiler.Hold("the runtime key " + model.RuntimeGlobalLimit + " needs user space")
	} else {
		s.compiler.Hold("")
	}
	puts := s.remake()
	u := s.compiler.Flush()
	s.take(&u)
	return puts
}

// remake makes the pending services. Unfit ones are forgotten once no rule refers to them.
func (s *services) remake() []*steer.Service {
	var puts []*steer.Service
	for _, name := range slices.Sorted(maps.Keys(s.pending)) {
		spec := s.specs[name]
		made, err := s.build(&spec)
		if err != nil {
			s.unfit(name, err.Error())
			continue
		}
		s.compiler.Unfit(name, "")
		delete(s.gone, name)
		have := s.made[name]
		if have == nil {
			have = &service{counts: newCounts(s.root, &spec)}
			s.made[name] = have
		}
		if have.counts.panics != nil && !maps.Equal(have.counts.panics, made.panics) {
			have.counts.collect(s.kernel, name, s.clusters().Get)
		}
		have.Service = made.Service
		inherited := have.counts.peers
		have.counts.takeOver(nil, s.clusters().Get)
		have.counts.serve(&spec, made)
		have.counts.takeOver(inherited, s.clusters().Get)
		puts = append(puts, &made.Service)
	}
	s.pending = make(map[string]struct{})
	return puts
}

// unfit has the connections of a service go through user space.
func (s *services) unfit(name, why string) {
	s.compiler.Unfit(name, why)
	if s.made[name] != nil {
		s.gone[name] = struct{}{}
	}
}

// settle has the kernel go by what was marked. It does nothing without a kernel half, until there is one.
func (s *services) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kernel == nil {
		return
	}
	puts := s.review()
	s.put(puts)
	if s.tell() {
		s.forget()
	}
}

// problem is why the kernel does not go by the present rules; nil when it does.
func (s *services) problem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// start settles with k from now on, whenever a cluster changes.
func (s *services) start(k steered) {
	s.mu.Lock()
	s.kernel = k
	s.mu.Unlock()
	s.live.Store(true)
	s.working.Go(func() {
		tick := time.NewTicker(collectInterval)
		defer tick.Stop()
		look := time.NewTicker(judgeInterval)
		defer look.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-s.wake:
				s.settle()
			case <-tick.C:
				s.lookAtHeirs()
				s.collect(everything)
			case <-look.C:
				s.collect((*counts).judged)
			}
		}
	})
}

// release ends what the kernel does, by f, and has it learn nothing more.
func (s *services) release(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live.Store(false)
	if s.kernel != nil {
		s.collectAll(everything)
		s.kernel = nil
	}
	f()
}

// surrender leaves what goes on in the kernel to another process, which looks it up if it shares this one's state; otherwise nobody counts
// it. Nothing is collected any more.
func (s *services) surrender() {
	s.release(func() {
		s.heirs = nil
		for _, have := range s.made {
			have.counts.takeOver(nil, s.clusters().Get)
			have.counts.leave(s.clusters().Get)
		}
	})
}

// everything is all that is counted.
func everything(*counts) bool { return true }

// collect brings the statistics of offloaded connections up to date, those that are asked for.
func (s *services) collect(which func(*counts) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kernel != nil {
		s.collectAll(which)
	}
}

func (s *services) collectAll(which func(*counts) bool) {
	for name, have := range s.made {
		if which(have.counts) {
			have.counts.collect(s.kernel, name, s.clusters().Get)
		}
	}
}

// status tells of each listener whether its connections reach user space, and why.
func (s *services) status() []steer.ListenerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.compiler.Status()
}

// close ends the work that start began. It may be called once.
func (s *services) close() {
	s.release(func() {})
	close(s.stop)
	s.working.Wait()
}
