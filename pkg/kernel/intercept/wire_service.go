package intercept

// The structs of bpf/types.h that are about offloaded connections: the kinds of blocks of the arena, and what is kept with a
// socket.

// Sizes of the arena.
const (
	chunkBits   = 12 // CHUNK_BITS
	chunkBlocks = 1 << chunkBits
	blockSlots  = 16 // BLOCK_SLOTS
)

// tableLoopback is TABLE_LOOPBACK of weir_table.flags.
const tableLoopback = 1 << 0

type wireBlock struct {
	Word [8]uint64
}

type wireService struct {
	Table      uint32
	Cursor     uint32
	Active     uint32
	Reserved   uint32
	Total      uint64
	NoEndpoint uint64
	Overflow   uint64
	Denied     uint64
	Limited    uint64
	Unused     uint64
}

type wireTable struct {
	Select uint32
	Count  uint32
	Slots  uint32
	Count4 uint32
	Slots4 uint32
	Limit  uint32
	Flags  uint32
	Policy uint32
	Admit  uint32
	Unused [7]uint32
}

type wireSlots struct {
	Endpoint [blockSlots]uint32
}

type wireUpstream struct {
	Addr        wireAddr
	Port        wirePort
	Reserved    uint16
	Active      uint32
	Total       uint64
	ConnectFail uint64
	RxBytes     uint64
	TxBytes     uint64
	Unused      uint64
}

type wireOffload struct {
	Owner     uint64
	Addr      wireAddr
	Port      wirePort
	State     uint8
	Closed    uint8
	Epoch     uint32
	Service   uint32
	Endpoint  uint32
	Half      uint32
	ToldAt    uint32
	Began     uint32
	Displaced uint32
	RxTold    uint64
	TxTold    uint64
}
