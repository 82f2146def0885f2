package process

// Of is what a process that this package did not start, and its descendants, have taken and hold.
// CPU that a descendant took counts once a process that waited for it is among them, as Usage has
// it.
func Of(pid int) Usage {
	children := childrenOf()
	var sum func(pid int) Usage
	sum = func(pid int) Usage {
		u := usageOf(pid)
		for _, c := range children[pid] {
			below := sum(c)
			u.CPU += below.CPU
			u.ResidentMiB += below.ResidentMiB
		}
		return u
	}
	return sum(pid)
}
