package main

// stepRules are the rules that each kind of step keeps, as the plans tell them.
var stepRules = map[string]map[string][]string{
	"gbase8a": {
		"flush": {"G08", "G09", "G10", "G12", "G13", "G15"}, "install": {"G22", "G23", "G24", "G32", "G33"},
		"lock": {"G31"}, "unlock": {"G31"}, "quiet": {"G18", "G19", "G20"}, "settle": {"G04"},
		"start-gcware": {"G05"}, "stop-gcware": {"G09", "G17"}, "stop-gcware-all": {"G03", "G04"}, "stop-services": {"G03", "G04"},
		"wait-gcware": {"G06", "G07", "G30"}, "wait-healthy": {"G19", "G28", "G32"}, "write-options": {"G21"},
	},
	"mogdb": {
		"build": {"M07", "M08", "M26"}, "compare": {"M25"}, "copy-package": {"M25"}, "unpack": {"M09", "M25"}, "healthy": {"M19"},
		"mogha-off": {"M03"}, "mogha-on": {"M19"}, "note-roles": {"M23"}, "remove-old": {"M23"}, "quiet": {"M02", "M03", "M04"},
		"refreshconf": {"M15", "M16", "M17"}, "standbys-ready": {"M10", "M13"}, "start": {"M12", "M18", "M30"}, "stop": {"M05", "M18"},
		"swap": {"M05", "M06", "M07", "M08", "M09", "M23", "M26"}, "switchover": {"M13", "M14", "M21"},
	},
	"dameng": {
		"adopt-standby": {"DM-024"}, "backup-primary": {"DM-051"}, "restore-standby": {"DM-038", "DM-051"}, "cold-copy": {"DM-001"},
		"force-open": {"DM-050"}, "init-dcr": {"DM-090", "DM-091"}, "move-archives": {"DM-023"}, "mode-status": {"DM-030", "DM-041"},
		"open-primary": {"DM-032", "DM-034", "DM-036"}, "open-standby": {"DM-032", "DM-033"}, "prove-exit": {"DM-002"},
		"prove-standby": {"DM-037", "DM-038"}, "start-asm": {"DM-094"}, "start-css": {"DM-094"}, "start-node": {"DM-092", "DM-094"},
		"start-server": {"DM-031", "DM-094"}, "start-watcher": {"DM-009", "DM-026", "DM-042"}, "start-monitor": {"DM-009", "DM-026", "DM-042"},
		"stop-asm": {"DM-095"}, "stop-css": {"DM-095"}, "stop-css-first": {"DM-095"}, "stop-node": {"DM-095"},
		"stop-monitor": {"DM-020"}, "stop-watcher": {"DM-020"}, "stop-server": {"DM-002", "DM-020", "DM-039", "DM-040", "DM-060", "DM-070"},
		"switch-bin": {"DM-031", "DM-094"}, "wait-equal": {"DM-022", "DM-072"}, "wait-open": {"DM-043", "DM-063", "DM-073", "DM-093"},
		"huge": {"DM-082", "DM-084", "DM-085"},
	},
	"opengauss": {"switchover": {"I3", "I4"}, "start": {"I3"}, "stop": {"I4"}},
	"postgres":  {"switchover": {"I3", "I4"}, "start": {"I3"}, "stop": {"I4"}},
}

// curated are the guards that are named by hand: what no literal and no
// comment of the sources ties to its rule.
var curated = []entry{
	// I1 to I10 in what is common to all drivers.
	{product: engine, rules: "I1", dir: "internal/run", fn: "worker.begin", how: passes, with: "nil", says: "no intent is written before a step"},
	{product: engine, rules: "I1", dir: "internal/run", fn: "worker.begin", how: swap, at: "return w.r.Log.Barrier(ctx, w.o.Step.Acting()...)", with: "return nil", says: "the copy on the acting node is not waited for"},
	{product: engine, rules: "I1", dir: "internal/run", fn: "worker.do", how: always, at: "err == nil", says: "the step is done although its intent could not be written"},
	{product: engine, rules: "I1", dir: "internal/run", fn: "worker.undo", how: always, at: "err == nil", says: "the undo is done although its intent could not be written"},
	{product: engine, rules: "I1", dir: "internal/journal", fn: "Journal.append", how: swap, at: "if err := j.f.Sync()", with: "_ = j.f.Sync()", says: "a sync that failed counts as durable"},
	{product: engine, rules: "I1", dir: "internal/journal", fn: "Journal.Append", how: never, at: "j.failed != nil", says: "a journal that failed is written on"},
	{product: engine, rules: "I1", dir: "internal/journal", fn: "barrier.look", how: never, at: "c.err != nil && c.ended > b.from[n]", says: "an acting node that cannot store its copy is no error"},
	{product: engine, rules: "I1", dir: "internal/journal", fn: "barrier.look", how: always, at: "c == nil || c.acked >= b.target", says: "a copy counts before it is acknowledged"},
	{product: engine, rules: "I1", dir: "internal/journal", fn: "Replicator.barrierSerial", how: swap, at: "if r.attempt(ctx, c)", with: "r.attempt(ctx, c)", says: "an acting node that cannot store its copy is no error (one after another)"},
	{product: engine, rules: "I1", dir: "internal/journal", fn: "Found.choose", how: never, at: "common < len(c.log.Records) && mattersAlone(c.log.Records[common:])", says: "two histories that differ are not refused"},
	{product: engine, rules: "I1", dir: "internal/run", fn: "Runner.open", how: never, at: "r.Trail.Final != \"\"", says: "a run that is over is worked on"},

	{product: engine, rules: "I2", dir: "internal/run", fn: "Trail.reopen", how: drop, at: "s.Status = Doubt", says: "what a dead process had begun is not asked again"},
	{product: engine, rules: "I2", dir: "internal/run", fn: "Trail.reopen", how: drop, at: "s.Status = Half", says: "an undo that a dead process had begun is not finished"},
	{product: engine, rules: "I2", dir: "internal/run", fn: "decideForward", how: swap, at: "d.add(i, step, Probe)", with: "d.add(i, step, Do)", says: "a step that was found started is done again unasked"},
	{product: engine, rules: "I2", dir: "internal/run", fn: "decideForward", how: swap, at: "d.add(i, step, Undo)", with: "d.add(i, step, Do)", says: "a step that is half done is done again without its undo"},
	{product: engine, rules: "I2", dir: "internal/run", fn: "decideForward", how: drop, at: "bad = worse(bad, &Stop{StopPerson, step.ID})", says: "a step whose standing nobody knows stops nothing"},
	{product: engine, rules: "I2", dir: "internal/run", fn: "Session.orderBack", how: swap, at: "d.add(i, step, Probe)", with: "d.add(i, step, Undo)", says: "going back, a step that was found started is undone unasked"},
	{product: engine, rules: "I2", dir: "internal/run", fn: "Session.conclude", how: never, at: "bad != nil || s.Asked", says: "new steps start beside one that failed"},
	{product: engine, rules: "I2", dir: "internal/run", fn: "worker.probe", how: swap, at: "standing = driver.Unknown", with: "standing = driver.Applied", says: "a probe that fails counts as applied"},
	{product: engine, rules: "I2", dir: "internal/run", fn: "worker.outcome", how: never, at: "ctx.Err() != nil", says: "a step that was cut off counts as failed"},
	{product: engine, rules: "I2", dir: "internal/run", fn: "worker.outcome", how: drop, at: "rec.Result = journal.Failed", says: "a step that failed counts as done"},

	{product: engine, rules: "I5", dir: "internal/run", fn: "Runner.open", how: never, at: "crossed", says: "a run goes back behind a one-way gate"},
	{product: engine, rules: "I5", dir: "internal/run", fn: "decideBack", how: never, at: "blocked[i]", says: "going back, a step does not wait for those that need it"},
	{product: engine, rules: "I5", dir: "internal/run", fn: "decideBack", how: never, at: "st.Status == Owing && s.Failed[i]", says: "what another node owes is tried again and again"},
	{product: engine, rules: "I5", dir: "internal/run", fn: "leftovers.holds", how: passes, with: "false", says: "going back, a node does not wait for what comes behind on it"},
	{product: engine, rules: "I5", dir: "internal/run", fn: "leftovers.holds", how: never, at: "l.nodes[i][everyNode] || acting == nil && len(l.nodes[i]) > 0", says: "a step of the cluster does not wait for its nodes"},
	{product: engine, rules: "I5", dir: "internal/run", fn: "worker.owed", how: passes, with: "\"\", false", says: "a node that does not answer stops the way back of the others"},
	{product: engine, rules: "I5", dir: "internal/run", fn: "worker.do", how: drop, at: "w.memo, t.Memo = memo, memo", says: "the memo for the way back is not kept"},
	{product: engine, rules: "I5", dir: "internal/run", fn: "Session.held", how: never, at: "step.Gate != nil && (step.Gate.OneWay || step.Gate.Wait) && !slices.Contains(s.Accept, step.ID)", says: "one-way gates are crossed unasked"},
	{product: engine, rules: "I5", dir: "internal/plan", fn: "Plan.validStep", how: never, at: "s.Phase == Apply && s.Class == OneWay && s.Gate == nil && !behindOneWay(s, before)", says: "a step that cannot be undone needs no gate before it"},
	{product: engine, rules: "I5", dir: "internal/plan", fn: "Plan.commitBehindGate", how: never, at: "after != (s.Phase == Commit)", says: "a step of commit may stand before its gate"},
	{product: engine, rules: "I5", dir: "internal/plan", fn: "Plan.validStep", how: never, at: "before[need] == nil", says: "a step may need what comes later"},
	{product: engine, rules: "I5", dir: "internal/run", fn: "Trail.ready", how: passes, with: "true", says: "steps do not wait for what they need"},

	{product: engine, rules: "I6", dir: "internal/run", fn: "verifyAction.Do", how: passes, with: "nil", says: "the result is not read again"},
	{product: engine, rules: "I6", dir: "internal/run", fn: "verifyAction.Do", how: never, at: "len(bad) > 0", says: "what Verify finds blocks nothing"},
	{product: engine, rules: "I6", dir: "internal/run", fn: "verifyAction.Probe", how: passes, with: "driver.Applied, nil", says: "a proof from before a crash counts"},
	{product: engine, rules: "I6, I7", dir: "internal/run", fn: "Runner.proveBack", how: passes, with: "Outcome{State: RolledBack}", says: "a rollback is over without being read again"},
	{product: engine, rules: "I5, I6", dir: "internal/run", fn: "compareBack", how: never, at: "!n.Reachable", says: "a node that does not answer counts as rolled back"},
	{product: engine, rules: "I5, I6", dir: "internal/run", fn: "compareBack", how: never, at: "was.Running != \"\" && n.Running != was.Running", says: "the running release is not compared after a rollback"},
	{product: engine, rules: "I5, I6", dir: "internal/run", fn: "compareBack", how: never, at: "n.Installed != was.Installed", says: "the installed release is not compared after a rollback"},
	{product: engine, rules: "I7", dir: "internal/run", fn: "compareBack", how: never, at: "was.Healthy && !n.Healthy", says: "health is not compared after a rollback"},
	{product: engine, rules: "I6", dir: "internal/plan", fn: "Plan.CheckFresh", how: always, at: "Digest(now) == p.Observed", says: "a stale plan is carried out"},
	{product: engine, rules: "I6", dir: "internal/plan", fn: "Plan.CheckFresh", how: never, at: "clusterID != p.ClusterID", says: "the plan of another cluster is carried out"},
	{product: engine, rules: "I6", dir: "internal/plan", fn: "Decode", how: never, at: "sum(canonical) != f.Digest || !bytes.Equal(canonical, compact.Bytes()) || !slices.Equal(parts, f.Parts)", says: "a plan that was edited is carried out"},

	{product: engine, rules: "I8", dir: "internal/journal", fn: "fenced.Run", how: always, at: "c.Effect == host.ReadOnly", says: "commands that change are not fenced"},
	{product: engine, rules: "I8", dir: "internal/journal", fn: "fenced.Run", how: never, at: "ee.Code == fenceStatus && bytes.Contains(ee.Stderr, []byte(fenceMark))", says: "a refusal by the fence looks like any failed command"},
	{product: engine, rules: "I8", dir: "internal/journal", fn: "Lease.outlive", how: passes, with: "nil", says: "a living holder of the lease is not heeded"},
	{product: engine, rules: "I8", dir: "internal/journal", fn: "Lease.outlive", how: never, at: "l.self.Alive(g.Who.PID, g.Start)", says: "a living process of this machine counts as gone"},
	{product: engine, rules: "I8", dir: "internal/journal", fn: "Lease.watch", how: never, at: "now[n] != watched[n]", says: "a holder that renews counts as gone"},
	{product: engine, rules: "I8", dir: "internal/journal", fn: "Lease.raise", how: drop, at: "top = max(top, g.Fence)", says: "the fencing number may fall"},
	{product: engine, rules: "I8", dir: "internal/journal", fn: "Lease.drain", how: passes, with: "nil", says: "commands of an earlier holder are not waited for"},
	{product: engine, rules: "I8", dir: "internal/journal", fn: "Lease.take", how: never, at: "code == leaseOther && now.Held && !l.isOurs(now)", says: "a lease that somebody took meanwhile is not told as held"},
	{product: engine, rules: "I8", dir: "internal/journal", fn: "flock", how: passes, with: "nil", says: "the lock of this machine is not taken"},

	{product: engine, rules: "I9", dir: "internal/wait", fn: "For", how: never, at: "s.Deadline <= 0", says: "a wait without a deadline is allowed"},
	{product: engine, rules: "I9", dir: "internal/wait", fn: "For", how: never, at: "p.waited >= s.Deadline", says: "a deadline ends no wait"},
	{product: engine, rules: "I9", dir: "internal/wait", fn: "For", how: never, at: "s.Stall > 0 && p.waited-p.moved >= s.Stall", says: "a standstill ends no wait"},
	{product: engine, rules: "I9", dir: "internal/wait", fn: "For", how: swap, at: "p.see(l, max(now.Sub(before), pause))", with: "p.see(l, now.Sub(before))", says: "a clock that is set back prolongs a wait"},
	{product: engine, rules: "I9", dir: "internal/wait", fn: "progress.see", how: never, at: "p.looks == 0 || l.Left < p.best", with: "p.looks > 0", says: "what shrinks counts as standing still"},
	{product: engine, rules: "I9", dir: "internal/run", fn: "Runner.carryOut", how: never, at: "timeout > 0", says: "a step has no time limit"},

	{product: engine, rules: "I10", dir: "internal/host", fn: "keyDB.check", how: passes, with: "nil", says: "host keys are not checked"},
	{product: engine, rules: "I10", dir: "internal/host", fn: "keyDB.check", how: always, at: "err == nil", says: "a host key that is unknown or changed is let through"},
	{product: engine, rules: "I10", dir: "internal/host", fn: "keyDB.check", how: swap, at: "return k.unknown(key)", with: "return nil", says: "without a file of known keys every key is let through"},
	{product: engine, rules: "I10", dir: "internal/host", fn: "Secrets.Hide", how: passes, with: "text", says: "secrets are not hidden"},
	{product: engine, rules: "I10", dir: "internal/host", fn: "audit.Run", how: always, at: "!c.Private", says: "the audit keeps what a private command prints"},
	{product: engine, rules: "I10", dir: "internal/host", fn: "redact.err", how: passes, with: "err", says: "errors tell secrets"},
	{product: engine, rules: "I10", dir: "internal/host", fn: "redact.Run", how: never, at: "err != nil", says: "what a failed command printed tells secrets"},

	// GBase 8a.
	{product: "gbase8a", rules: "G02, G13", dir: "internal/driver/gbase8a", fn: "site.behind", how: never, at: "!ok || newest.Compare(base.Newest[m.Name]) <= 0 || newest.Compare(top) < 0 || len(d.Running) > 0", says: "no node is ever behind in the flush"},
	{product: "gbase8a", rules: "G10", dir: "internal/driver/gbase8a", fn: "site.behind", how: never, at: "newest.Compare(base.Newest[m.Name]) <= 0", says: "a snapshot that was there before counts"},
	{product: "gbase8a", rules: "G13", dir: "internal/driver/gbase8a", fn: "site.behind", how: never, at: "newest.Compare(top) < 0", says: "a snapshot older than the cluster's newest counts"},
	{product: "gbase8a", rules: "G11", dir: "internal/driver/gbase8a", fn: "site.behind", how: never, at: "len(d.Running) > 0", says: "a snapshot in progress is not waited for"},
	{product: "gbase8a", rules: "G09", dir: "internal/driver/gbase8a", fn: "site.askFlush", how: never, at: "string(res.Stdout) != \"1\\n\"", says: "what the flush call returns is not looked at"},
	{product: "gbase8a", rules: "G17", dir: "internal/driver/gbase8a", fn: "site.flushProven", how: passes, with: "nil", says: "gcware is stopped without the proof of the flush"},
	{product: "gbase8a", rules: "G31", dir: "internal/driver/gbase8a", fn: "checker.askLock", how: passes, says: "another operator's lock is not asked for"},
	{product: "gbase8a", rules: "G12", dir: "internal/driver/gbase8a", fn: "flush.Probe", how: passes, with: "driver.Applied, nil", says: "a flush that was begun counts as done"},

	// Dameng.
	{product: "dameng", rules: "DM-033, DM-036, DM-050", dir: "internal/driver/dameng", fn: "task.openNodes", how: always, at: "in.Status == \"OPEN\"", with: "n != k.m.nodes[0]", says: "only the first node of a member is opened"},
	{product: "dameng", rules: "DM-034", dir: "internal/driver/dameng", fn: "openPrimary", how: drop, at: "for _, t := range targets", says: "the archive to the control node of a DSC standby is not made valid"},
	{product: "dameng", rules: "DM-035", dir: "internal/driver/dameng", fn: "task.openTargets", how: always, at: "m.shared()", says: "a standby that is no DSC cluster is asked for its control node"},
	{product: "dameng", rules: "DM-050", dir: "internal/driver/dameng", fn: "forceOpen", how: swap, at: "return n.tell(ctx, time.Minute, \"SP_SET_ALL_ARCH_STATUS(1)\", \"SP_SET_PARA_VALUE(1, 'ALTER_MODE_STATUS', 1)\")", with: "return n.tell(ctx, time.Minute, \"SP_SET_PARA_VALUE(1, 'ALTER_MODE_STATUS', 1)\")", says: "the archives are not made invalid before the primary opens alone"},
	{product: "dameng", rules: "DM-041, DM-050", dir: "internal/driver/dameng", fn: "forceOpen", how: drop, at: "for _, n := range k.m.nodes", says: "ALTER_MODE_STATUS stays at 1 behind the forced open"},
	{product: "dameng", rules: "DM-026", dir: "internal/driver/dameng", fn: "site.noWatchers", how: passes, with: "nil", says: "watchers that still run are not looked for"},
	{product: "dameng", rules: "DM-031", dir: "internal/driver/dameng", fn: "node.answers", how: never, at: "!v.IsZero() && !in.Release.Same(v)", says: "the release that the server tells is not compared"},
	{product: "dameng", rules: "DM-095, DM-096", dir: "internal/driver/dameng", fn: "member.stop", how: never, at: "m.shared()", says: "a DSC group is not stopped as one"},
	{product: "dameng", rules: "DM-060, DM-070", dir: "internal/driver/dameng", fn: "task.leavesOld", how: passes, with: "false", says: "nobody looks whether a database is OPEN before its exit"},
	{product: "dameng", rules: "DM-020", dir: "internal/driver/dameng", fn: "builder.stopAll", how: swap, at: "b.stage(b.members([]*member{b.primary}, \"stop-server\", \"stop-server\", b.duties.rules[\"exit\"], stop)...)", with: "if len(b.standby) > 0 { b.stage(b.members(b.standby[:1], \"stop-server\", \"stop-first\", \"\", stop)...) }; b.stage(b.members([]*member{b.primary}, \"stop-server\", \"stop-server\", b.duties.rules[\"exit\"], stop)...)", says: "a standby is stopped before the primary"},
	{product: "dameng", rules: "DM-027", dir: "internal/driver/dameng", fn: "builder.needsDCR", how: never, at: "!b.d.site.topology.shared()", says: "the topology is not asked before DCR and voting disks are made anew"},
	{product: "dameng", rules: "DM-090", dir: "internal/driver/dameng", fn: "builder.needsDCR", how: never, at: "b.h.From.Part(0) == 7 && b.h.To.Part(0) == 8", says: "DM7 to DM8 keeps the DCR and voting disks"},
	{product: "dameng", rules: "DM-091", dir: "internal/driver/dameng", fn: "builder.needsDCR", how: never, at: "b.duties.crosses(\"E5\") && b.d.asmOld()", says: "old ASM disks keep their DCR and voting disks"},
	{product: "dameng", rules: "DM-082", dir: "internal/driver/dameng", fn: "builder.r1", how: drop, at: "b.huge(b.standby)", says: "R5 is not done on the standbys"},
	{product: "dameng", rules: "DM-087", dir: "internal/driver/dameng", fn: "builder.r2", how: drop, at: "b.huge([]*member{b.primary})", says: "R5 is not done on the primary before its backup"},
	{product: "dameng", rules: "DM-084, DM-085", dir: "internal/driver/dameng", fn: "hugeDo", how: never, at: "err != nil || has", says: "a member whose MAIN is mixed already is changed again"},
	{product: "dameng", rules: "DM-066, DM-076", dir: "internal/driver/dameng", fn: "Duties.runbook", how: never, at: "d.crosses(\"E0\") || d.crosses(\"E1\")", says: "the redo log epoch does not choose R1"},
	{product: "dameng", rules: "DM-076, DM-060, DM-070", dir: "internal/driver/dameng", fn: "DutiesOf", how: never, at: "AllOpen: has(\"E2\", \"E3\") || log", says: "the duty: all members OPEN before the exit"},
	{product: "dameng", rules: "DM-021, DM-061, DM-072, DM-096", dir: "internal/driver/dameng", fn: "Duties.forbidNodes", how: always, at: "state[\"node\"] != \"error\" || !r.Topology.shared()", says: "a faulty DSC node is not refused"},
	{product: "dameng", rules: "DM-061, DM-072, DM-096", dir: "internal/driver/dameng", fn: "DutiesOf", how: never, at: "NodesWell: t.shared() && has(\"E0\", \"E1\", \"E2\", \"E3\", \"E5\", \"E6\")", says: "the duty: no faulty node"},
	{product: "dameng", rules: "DM-022, DM-072", dir: "internal/driver/dameng", fn: "DutiesOf", how: never, at: "Consistent: t.watched() && (log || page && t == DWDSC)", says: "the duty: standbys equal to the primary"},
	{product: "dameng", rules: "DM-071", dir: "internal/driver/dameng", fn: "DutiesOf", how: always, at: "page && t == DWDSC", with: "page", says: "the page format asks for equal standbys also without DSC"},
	{product: "dameng", rules: "DM-023", dir: "internal/driver/dameng", fn: "DutiesOf", how: never, at: "MoveArchives: log || page && t == DWDSC", says: "the duty: archives are moved away"},
	{product: "dameng", rules: "DM-024", dir: "internal/driver/dameng", fn: "DutiesOf", how: never, at: "MagicDiffers: t.watched() && log", says: "the duty: each standby has a DB_MAGIC of its own"},
	{product: "dameng", rules: "DM-030, DM-032", dir: "internal/driver/dameng", fn: "DutiesOf", how: never, at: "ModeDance: t.watched() && log", says: "the duty: ALTER_MODE_STATUS, standbys open first"},
	{product: "dameng", rules: "DM-026", dir: "internal/driver/dameng", fn: "DutiesOf", how: never, at: "WatchersLast: t.watched() && log", says: "the duty: watchers and monitors last"},
	{product: "dameng", rules: "DM-037", dir: "internal/driver/dameng", fn: "DutiesOf", how: never, at: "OpenHistory: has(\"E1\")", says: "the duty: SYSOPENHISTORY appears"},
	{product: "dameng", rules: "DM-063, DM-073", dir: "internal/driver/dameng", fn: "DutiesOf", how: never, at: "ArchiveValid: t.watched() && has(\"E2\", \"E3\")", says: "the duty: archives VALID afterwards"},
	{product: "dameng", rules: "DM-064, DM-074", dir: "internal/driver/dameng", fn: "DutiesOf", how: never, at: "OldBanned: has(\"E2\", \"E6\") || page && t.shared()", says: "the duty: the old software never starts the library again"},
	{product: "dameng", rules: "DM-063, DM-073", dir: "internal/driver/dameng", fn: "site.lookOpen", how: never, at: "archives && len(missing) == 0 && len(primaries) == 1", says: "archives are not looked at when all is open"},
	{product: "dameng", rules: "DM-043", dir: "internal/driver/dameng", fn: "site.lookOpen", how: never, at: "in.Status != \"OPEN\"", says: "a database that is not OPEN is not missed"},
	{product: "dameng", rules: "DM-037, DM-038", dir: "internal/driver/dameng", fn: "task.lost", how: passes, with: "false, say.Text{}", says: "a standby that died when it was asked is not restored"},
	{product: "dameng", rules: "DM-051", dir: "internal/driver/dameng", fn: "backupDo", how: never, at: "len(ms) > 0", says: "no backup is made for the standbys"},
	{product: "dameng", rules: "DM-022, DM-072", dir: "internal/driver/dameng", fn: "replay.equal", how: passes, with: "true", says: "every standby counts as equal to the primary"},

	// openGauss.
	{product: "opengauss", rules: "I4", dir: "internal/driver/opengauss", fn: "room.proveLast", how: passes, with: "nil", says: "a server becomes the primary although another one was it later"},
	{product: "opengauss", rules: "I4", dir: "internal/driver/opengauss", fn: "room.abdicate", how: passes, with: "nil", says: "a server that became the primary is stopped without handing over"},

	// MogDB.

	// PostgreSQL.
	{product: "postgres", rules: "I4", dir: "internal/driver/postgres", fn: "pair.cut", how: never, at: "err == nil && end.State != stateShutDown", says: "the control file need not say that the old primary is shut down"},
	{product: "postgres", rules: "I4", dir: "internal/driver/postgres", fn: "pair.promote", how: swap, at: "asked, err = p.tc.promoteIf(ctx, end.Checkpoint)", with: "asked, err = p.tc.promoteIf(ctx, 0)", says: "the candidate is promoted before it has replayed the last record"},
	{product: "postgres", rules: "I4", dir: "internal/driver/postgres", fn: "pair.promote", how: never, at: "sys != before.SystemID || int(end.Timeline) != before.Timeline", says: "the control file may be of another history"},
	{product: "postgres", rules: "I3", dir: "internal/driver/postgres", fn: "pair.prepare", how: never, at: "!to.Recovery", says: "the candidate may be a primary already"},
	{product: "postgres", rules: "I3", dir: "internal/driver/postgres", fn: "pair.prepare", how: never, at: "from.Recovery", says: "the old primary may be a standby"},
	{product: "postgres", rules: "I4", dir: "internal/driver/postgres", fn: "pair.prepare", how: never, at: "from.SystemID != to.SystemID || from.Timeline != to.Timeline", says: "the two nodes may be of different histories"},
	{product: "postgres", rules: "I3", dir: "internal/driver/postgres", fn: "pair.oldIsStandby", how: passes, with: "nil", says: "nobody looks whether the old primary could come up as a primary"},
	{product: "postgres", rules: "I3", dir: "internal/driver/postgres", fn: "pair.oldIsStandby", how: never, at: "!signal", says: "standby.signal is not put back on the old primary"},
	{product: "postgres", rules: "I3", dir: "internal/driver/postgres", fn: "switchoverAction.Probe", how: never, at: "st.fromPrimary && st.toPrimary", says: "two primaries are not noticed by the probe"},
	{product: "postgres", rules: "I3", dir: "internal/driver/postgres", fn: "switchoverAction.Undo", how: never, at: "st.fromPrimary && st.toPrimary", says: "two primaries are not noticed by the undo"},
	{product: "postgres", rules: "I3, I4", dir: "internal/driver/postgres", fn: "switchoverAction.Undo", how: never, at: "st.fromErr != nil", says: "an old primary that is away is not owed"},
	{product: "postgres", rules: "I3", dir: "internal/driver/postgres", fn: "pair.reinstate", how: swap, at: "if err := p.from.onlyPrimary(ctx)", with: "_ = ctx", says: "the old primary is started without looking for another one"},
	{product: "postgres", rules: "I6", dir: "internal/driver/postgres", fn: "verifyNode", how: never, at: "n.ID.Version != p.To || n.Installed != p.To || releaseOfExe(n.Proc.Exe) != p.To", says: "verify does not compare releases"},
	{product: "postgres", rules: "I7", dir: "internal/driver/postgres", fn: "verifyNode", how: never, at: "known && healthRank(now) < healthRank(before.Health)", says: "verify does not compare health"},
	{product: "postgres", rules: "I6", dir: "internal/driver/postgres", fn: "verifyNode", how: never, at: "!n.Reachable || !n.SQL", says: "verify lets a node pass that does not answer"},
	{product: "postgres", rules: "I3", dir: "internal/driver/postgres", fn: "view.verifyRoles", how: never, at: "len(ps) != 1", says: "verify does not count the primaries"},
	{product: "postgres", rules: "I7", dir: "internal/driver/postgres", fn: "view.verifyRoles", how: never, at: "names.relaxed(here).String() != names.String()", says: "verify does not look for the synchronous standbys"},
	{product: "postgres", rules: "I6", dir: "internal/driver/postgres", fn: "view.verifyMovement", how: passes, says: "verify does not prove that standbys follow"},
	{product: "postgres", rules: "I3, I4", dir: "internal/driver/postgres", fn: "pair.cut", how: passes, with: "p.from.control(ctx)", says: "the candidate is promoted while the old primary still runs"},

	// What Verify compares.
	{product: "opengauss", rules: "I6", dir: "internal/driver/opengauss", fn: "view.prove", how: never, at: "!n.Up || n.Trouble != nil", says: "verify lets a node pass that cannot be read"},
	{product: "opengauss", rules: "I6", dir: "internal/driver/opengauss", fn: "view.prove", how: never, at: "!n.SQL", says: "verify lets a server pass that does not answer"},
	{product: "opengauss", rules: "I6", dir: "internal/driver/opengauss", fn: "view.prove", how: never, at: "n.Installed.Commit != commit || n.Running.Commit != commit", says: "verify does not compare releases"},
	{product: "opengauss", rules: "I6", dir: "internal/driver/opengauss", fn: "view.prove", how: never, at: "!open && n.Software.Kernel > 0 && n.Working != n.Software.Kernel", says: "verify does not compare the working number"},
	{product: "opengauss", rules: "I7", dir: "internal/driver/opengauss", fn: "view.prove", how: never, at: "healthRank(n.health()) > healthRank(was.Health)", says: "verify does not compare health"},
	{product: "opengauss", rules: "I3", dir: "internal/driver/opengauss", fn: "view.prove", how: never, at: "len(ps) != 1", says: "verify does not count the primaries"},
	{product: "opengauss", rules: "I6", dir: "internal/driver/opengauss", fn: "view.prove", how: never, at: "streams < v.standbysOf(ps[0])", says: "verify does not count the standbys that stream"},
	{product: "opengauss", rules: "I5", dir: "internal/driver/opengauss", fn: "seen.proveFrozen", how: never, at: "was != \"\" && s.Settings[name] != \"\" && was != s.Settings[name]", says: "verify does not compare the settings that the way back needs"},
	{product: "opengauss", rules: "I6", dir: "internal/driver/opengauss", fn: "view.proveSQL", how: passes, says: "verify does not read on the standbys what it wrote on the primary"},
	{product: "mogdb", rules: "I7", dir: "internal/driver/mogdb", fn: "verifier.node", how: never, at: "!healthy", says: "verify does not look at health"},
	{product: "mogdb", rules: "I7", dir: "internal/driver/mogdb", fn: "verifier.node", how: never, at: "was.Healthy && n.HA.Process != gaussdb.Running", says: "verify does not tell a server that fell"},
	{product: "gbase8a", rules: "I6", dir: "internal/driver/gbase8a", fn: "releasesProven", how: never, at: "!n.Reachable", says: "verify lets a node pass that does not answer"},
	{product: "gbase8a", rules: "I6", dir: "internal/driver/gbase8a", fn: "releasesProven", how: never, at: "n.Installed != p.To", says: "verify does not compare the installed release"},
	{product: "gbase8a", rules: "I6", dir: "internal/driver/gbase8a", fn: "releasesProven", how: never, at: "n.Running != p.To", says: "verify does not compare the running release"},
	{product: "gbase8a", rules: "I7", dir: "internal/driver/gbase8a", fn: "site.fallen", how: passes, says: "verify does not compare health"},
	{product: "dameng", rules: "I6", dir: "internal/driver/dameng", fn: "verifyNode", how: never, at: "!n.Reachable", says: "verify lets a node pass that cannot be read"},
	{product: "dameng", rules: "I6", dir: "internal/driver/dameng", fn: "verifyNode", how: never, at: "n.Running != p.To", says: "verify does not compare the running release"},
	{product: "dameng", rules: "I6", dir: "internal/driver/dameng", fn: "verifyNode", how: never, at: "n.Installed != \"\" && n.Installed != p.To", says: "verify does not compare the installed release"},
	{product: "dameng", rules: "I7", dir: "internal/driver/dameng", fn: "verifyNode", how: never, at: "healthOrder[n.Health] < healthOrder[healthOpen] || healthOrder[n.Health] < healthOrder[before.Health]", says: "verify does not compare health"},
	{product: "dameng", rules: "I3", dir: "internal/driver/dameng", fn: "verifyNode", how: never, at: "before.Role != \"\" && n.Role != before.Role", says: "verify does not compare roles"},
}

// facts are rules that have nothing to remove, with the reason.
var facts = map[string]map[string]string{
	"opengauss": {
		"GAUSS-50004": "a code of the vendor's command line, told where an option cannot be read",
		"GAUSS-50233": "the code of the check new-directory, which is removed as a whole",
		"GAUSS-50401": "the code of the check app-size, which is removed as a whole",
		"GAUSS-51217": "the code of the check deployment, which is removed as a whole",
		"GAUSS-51623": "a code in the message of an error that is passed on",
		"GAUSS-52946": "told where a release cannot be parsed; there is nothing to go on with",
	},
	"dameng": {
		"DM-065": "the new software does it by itself at its first start",
		"DM-083": "Shiplift builds no new standbys; what it restores is DM-051 and DM-087",
	},
}

// redundant are guards whose removal changes nothing that a test could see, by
// "file function: what", each with the guard that holds the same.
var redundant = map[string]string{
	"plan.go Driver.Plan: step put-license comes before the step it waits for":      "both only lay files down; the installer waits for both",
	"lease.go Lease.take: a lease that somebody took meanwhile is not told as held": "the look is made anew then, and finds the holder",
}

// brokenBuilds are caught by the simulation.
var brokenBuilds = []brokenBuild{
	{"postgres-no-cut", "the candidate becomes the primary while the old one still accepts writes", "internal/driver/postgres/switchover.go pair.cut: the candidate is promoted while the old primary still runs", "postgres-2", 1},
	{"dameng-standby-first", "a standby leaves before the primary, so that the primary is not closed normally", "internal/driver/dameng/runbooks.go builder.stopAll: a standby is stopped before the primary", "dameng-dw-log-epoch", 2},
	{"opengauss-no-catalogue", "servers are switched to the new catalogue number without the catalogue that belongs to it", "internal/driver/opengauss/opengauss.go Driver.Action: step sql-pre is left out", "opengauss-rolling", 1},
}
