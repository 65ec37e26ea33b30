package intercept

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// services are what the arena holds. They are guarded by Interceptor.mu.
type services struct {
	*arena
	byName  map[string]*service
	byBlock map[uint32]*service
	// clock counts the grace periods that were begun. What left before one is out of all programs' hands after it.
	clock uint64
	// settling is set while somebody waits for a grace period without holding the mutex.
	settling bool
	// leaving are services that nobody refers to any more, with connections perhaps; draining such with endpoints that leave.
	leaving  []*service
	draining map[*service]struct{}
	policies *policies
}

// service is a service that was applied or that a rule refers to.
type service struct {
	name   string
	number uint32 // its block
	spec   *steer.Service
	rules  int // that refer to it
	// table and slots in force; none before the service is applied.
	table, slots extent
	endpoints    map[steer.Endpoint]uint32
	// leaving are endpoints that no table leads to any more. Their blocks stay for as long as they have connections.
	leaving map[steer.Endpoint]leaver
	// left is the clock when the service left, if it has.
	left uint64
	// gone is what the endpoints that have left have counted, by cluster.
	gone map[string]EndpointStats
	// policy is the id of the policy in force, 0 for none; policyGone is what earlier ones have counted.
	policy     uint32
	policyGone map[policyKey]PolicyStats
}

// leaver is an endpoint that has left: its block, and the clock at that time.
type leaver struct {
	number uint32
	left   uint64
}

func newServices(a *arena, policyMap *ebpf.Map) *services {
	return &services{
		arena: a, byName: make(map[string]*service), byBlock: make(map[uint32]*service), draining: make(map[*service]struct{}),
		policies: newPolicies(policyMap),
	}
}

// ApplyServices makes services what the kernel goes by, new ones and such as it has already, and forgets those that are gone.
// Each costs as much as it has endpoints and slots, however many others there are, and takes no system call, unless more memory
// is needed. A connect() sees a service as it was before or as it is now. Connections that there are keep their endpoint.
//
// Rules may refer to a service that is not known, or not any more: its connections are captured until it is.
//
// A service that there is no room for stays what it was; the error is a *FullError then, and the others are applied. Services must
// not be written to afterwards.
func (i *Interceptor) ApplyServices(now []*steer.Service, gone []string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return fmt.Errorf("apply services: %w", errClosed)
	}
	if i.pinned.Yielded() {
		return nil
	}
	var failed []error
	for _, name := range gone {
		i.services.forget(name)
	}
	for _, s := range now {
		if err := i.services.applyOrSettle(s); err != nil {
			failed = append(failed, fmt.Errorf("apply service %s: %w", s.Name, err))
		}
	}
	return errors.Join(failed...)
}

// named returns the service of that name, without endpoints if it is new.
func (s *services) named(name string) (*service, error) {
	if have := s.byName[name]; have != nil {
		return have, nil
	}
	number, err := s.alloc(1)
	if err != nil {
		return nil, err
	}
	made := &service{
		name: name, number: number,
		endpoints: make(map[steer.Endpoint]uint32), leaving: make(map[steer.Endpoint]leaver),
		gone: make(map[string]EndpointStats), policyGone: make(map[policyKey]PolicyStats),
	}
	s.byName[name], s.byBlock[number] = made, made
	return made, nil
}

// refer and unrefer count the rules that lead to a service.
func (s *services) refer(name string) (uint32, error) {
	have, err := s.named(name)
	if err != nil {
		return 0, fmt.Errorf("name service %s: %w", name, err)
	}
	have.rules++
	return have.number, nil
}

func (s *services) unrefer(name string) {
	have := s.byName[name]
	have.rules--
	s.dropIfUnused(have)
}

func (s *services) dropIfUnused(have *service) {
	if have.rules == 0 && have.spec == nil {
		delete(s.byName, have.name)
		have.left = s.clock
		s.leaving = append(s.leaving, have)
	}
}

func (s *services) forget(name string) {
	have := s.byName[name]
	if have == nil || have.spec == nil {
		return
	}
	s.swapTable(have, extent{}, extent{})
	s.policies.retire(have, 0)
	have.spec = nil
	s.leave(have, nil)
	s.dropIfUnused(have)
}

// applyOrSettle applies a service; when there is no room, once more when what has left is freed.
func (s *services) applyOrSettle(spec *steer.Service) error {
	err := s.apply(spec)
	var noRoom *FullError
	if !errors.As(err, &noRoom) {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	return s.apply(spec)
}

// apply writes the new table beside the one in force, and swaps.
func (s *services) apply(spec *steer.Service) error {
	if err := check(spec); err != nil {
		return err
	}
	have, err := s.named(spec.Name)
	if err != nil {
		return err
	}
	added, err := s.addEndpoints(have, spec.Endpoints)
	if err != nil {
		s.takeBack(have, added)
		return err
	}
	policy, err := s.policies.of(have, spec.Policy)
	if err != nil {
		s.takeBack(have, added)
		return err
	}
	table, slots, err := s.writeTable(have, spec, policy)
	if err != nil {
		s.policies.discard(have, policy)
		s.takeBack(have, added)
		return err
	}
	s.swapTable(have, table, slots)
	s.policies.retire(have, policy)
	s.leave(have, spec.Endpoints)
	have.spec = spec
	return nil
}

func check(spec *steer.Service) error {
	for n, e := range spec.Endpoints {
		if !e.Addr.IsValid() || e.Addr.Port() == 0 || e.Addr.Addr().Is4In6() {
			return fmt.Errorf("endpoint %d: %s is not an address and a port", n, e.Addr)
		}
	}
	for n, slot := range spec.Table {
		if int(slot) >= len(spec.Endpoints) {
			return fmt.Errorf("slot %d: there is no endpoint %d", n, slot)
		}
	}
	return nil
}

// addEndpoints gives blocks to the endpoints that have none, and returns these.
func (s *services) addEndpoints(have *service, endpoints []steer.Endpoint) (added []steer.Endpoint, err error) {
	for _, e := range endpoints {
		if _, found := have.endpoints[e]; found {
			continue
		}
		left, back := have.leaving[e]
		number := left.number
		if !back {
			if number, err = s.alloc(1); err != nil {
				return added, err
			}
			u := s.upstream(number)
			u.Addr, u.Port = wireOf(e.Addr)
		}
		delete(have.leaving, e)
		have.endpoints[e] = number
		added = append(added, e)
	}
	return added, nil
}

// takeBack undoes addEndpoints: no table has led to them, or else they had been leaving.
func (s *services) takeBack(have *service, added []steer.Endpoint) {
	for _, e := range added {
		have.leaving[e] = leaver{have.endpoints[e], s.clock}
		delete(have.endpoints, e)
		s.draining[have] = struct{}{}
	}
}

// leave has the endpoints leave that the service no longer has.
func (s *services) leave(have *service, endpoints []steer.Endpoint) {
	if len(have.endpoints) == len(endpoints) {
		return // all of these have a block, so that there is none but theirs
	}
	stay := make(map[steer.Endpoint]struct{}, len(endpoints))
	for _, e := range endpoints {
		stay[e] = struct{}{}
	}
	for e, number := range have.endpoints {
		if _, found := stay[e]; !found {
			have.leaving[e] = leaver{number, s.clock}
			delete(have.endpoints, e)
			s.draining[have] = struct{}{}
		}
	}
}

// swapTable puts a table in force by one store, and retires the one before.
func (s *services) swapTable(have *service, table, slots extent) {
	publish(&s.service(have.number).Table, table.start)
	s.retire(have.table)
	s.retire(have.slots)
	have.table, have.slots = table, slots
}

// writeTable writes a table that nothing leads to yet. The slots of IPv4 endpoints are a table of their own when there are
// others too.
func (s *services) writeTable(have *service, spec *steer.Service, policy uint32) (table, slots extent, err error) {
	all, four, flags := s.slotsOf(have, spec)
	blocks := blocksOf(len(all))
	total := blocks
	if len(four) != len(all) {
		total += blocksOf(len(four))
	}
	start, err := s.alloc(1)
	if err != nil {
		return extent{}, extent{}, err
	}
	table = extent{start, 1}
	if total > 0 {
		if start, err = s.alloc(total); err != nil {
			s.release([]extent{table})
			return extent{}, extent{}, err
		}
		slots = extent{start, total}
	}
	t := s.table(table.start)
	t.Select, t.Limit, t.Flags = uint32(spec.Select), spec.MaxConnections, flags
	t.Policy, t.Admit = policy, spec.ConnectionLimit
	t.Count, t.Slots, t.Count4, t.Slots4 = uint32(len(all)), slots.start, uint32(len(four)), slots.start
	s.fill(slots.start, all)
	if len(four) != len(all) {
		t.Slots4 = slots.start + blocks
		s.fill(t.Slots4, four)
	}
	return table, slots, nil
}

// slotsOf gives the blocks of the endpoints slot by slot, and those of IPv4 endpoints alone.
func (s *services) slotsOf(have *service, spec *steer.Service) (all, four []uint32, flags uint32) {
	if spec.OwnNamespace {
		flags |= tableLoopback
	}
	numbers := make([]uint32, len(spec.Endpoints))
	for n, e := range spec.Endpoints {
		numbers[n] = have.endpoints[e]
		if ip := e.Addr.Addr(); ip.IsLoopback() || ip.IsUnspecified() {
			flags |= tableLoopback
		}
	}
	if spec.Table == nil {
		all = numbers
	} else {
		all = make([]uint32, len(spec.Table))
		for n, slot := range spec.Table {
			all[n] = numbers[slot]
		}
	}
	is4 := func(n int) bool {
		if spec.Table != nil {
			n = int(spec.Table[n])
		}
		return spec.Endpoints[n].Addr.Addr().Is4()
	}
	if !slices.ContainsFunc(spec.Endpoints, func(e steer.Endpoint) bool { return e.Addr.Addr().Is6() }) {
		return all, all, flags
	}
	for n, number := range all {
		if is4(n) {
			four = append(four, number)
		}
	}
	return all, four, flags
}

func (s *services) fill(start uint32, numbers []uint32) {
	for n, number := range numbers {
		s.arena.slots(start + uint32(n/blockSlots)).Endpoint[n%blockSlots] = number
	}
}

func blocksOf(slots int) uint32 { return uint32((slots + blockSlots - 1) / blockSlots) }
