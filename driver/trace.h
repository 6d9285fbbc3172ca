/* SPDX-License-Identifier: GPL-2.0 */
/* Tracepoints: /sys/kernel/tracing/events/mmapdev. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mmapdev

#if !defined(MMAPDEV_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define MMAPDEV_TRACE_H

#include <linux/tracepoint.h>

#include "mmapdev.h"

TRACE_EVENT(mmapdev_map,
	TP_PROTO(const struct mmapdev *dev, loff_t offset, u64 length,
		 bool shared, bool eager, int ret),
	TP_ARGS(dev, offset, length, shared, eager, ret),
	TP_STRUCT__entry(
		__field(int, dev)
		__field(u64, offset)
		__field(u64, length)
		__field(bool, shared)
		__field(bool, eager)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->dev = dev->number;
		__entry->offset = offset;
		__entry->length = length;
		__entry->shared = shared;
		__entry->eager = eager;
		__entry->ret = ret;
	),
	TP_printk("dev=%d offset=%llu length=%llu shared=%d eager=%d ret=%d",
		  __entry->dev, __entry->offset, __entry->length,
		  __entry->shared, __entry->eager, __entry->ret)
);

TRACE_EVENT(mmapdev_fault,
	TP_PROTO(const struct mmapdev *dev, pgoff_t index, bool write,
		 int order, int ret),
	TP_ARGS(dev, index, write, order, ret),
	TP_STRUCT__entry(
		__field(int, dev)
		__field(u64, index)
		__field(bool, write)
		__field(int, order)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->dev = dev->number;
		__entry->index = index;
		__entry->write = write;
		__entry->order = order;
		__entry->ret = ret;
	),
	TP_printk("dev=%d index=%llu write=%d order=%d ret=%d",
		  __entry->dev, __entry->index, __entry->write,
		  __entry->order, __entry->ret)
);

TRACE_EVENT(mmapdev_mkwrite,
	TP_PROTO(const struct mmapdev *dev, pgoff_t index),
	TP_ARGS(dev, index),
	TP_STRUCT__entry(
		__field(int, dev)
		__field(u64, index)
	),
	TP_fast_assign(
		__entry->dev = dev->number;
		__entry->index = index;
	),
	TP_printk("dev=%d index=%llu", __entry->dev, __entry->index)
);

TRACE_EVENT(mmapdev_commit,
	TP_PROTO(const struct mmapdev *dev, loff_t start, loff_t end,
		 u64 bytes, u64 seq),
	TP_ARGS(dev, start, end, bytes, seq),
	TP_STRUCT__entry(
		__field(int, dev)
		__field(u64, start)
		__field(u64, end)
		__field(u64, bytes)
		__field(u64, seq)
	),
	TP_fast_assign(
		__entry->dev = dev->number;
		__entry->start = start;
		__entry->end = end;
		__entry->bytes = bytes;
		__entry->seq = seq;
	),
	TP_printk("dev=%d start=%llu end=%llu bytes=%llu seq=%llu",
		  __entry->dev, __entry->start, __entry->end,
		  __entry->bytes, __entry->seq)
);

TRACE_EVENT(mmapdev_resize,
	TP_PROTO(const struct mmapdev *dev, loff_t from, loff_t to),
	TP_ARGS(dev, from, to),
	TP_STRUCT__entry(
		__field(int, dev)
		__field(u64, from)
		__field(u64, to)
	),
	TP_fast_assign(
		__entry->dev = dev->number;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("dev=%d from=%llu to=%llu", __entry->dev, __entry->from,
		  __entry->to)
);

TRACE_EVENT(mmapdev_punch,
	TP_PROTO(const struct mmapdev *dev, loff_t offset, u64 length),
	TP_ARGS(dev, offset, length),
	TP_STRUCT__entry(
		__field(int, dev)
		__field(u64, offset)
		__field(u64, length)
	),
	TP_fast_assign(
		__entry->dev = dev->number;
		__entry->offset = offset;
		__entry->length = length;
	),
	TP_printk("dev=%d offset=%llu length=%llu", __entry->dev,
		  __entry->offset, __entry->length)
);

TRACE_EVENT(mmapdev_revoke,
	TP_PROTO(const struct mmapdev *dev),
	TP_ARGS(dev),
	TP_STRUCT__entry(
		__field(int, dev)
	),
	TP_fast_assign(
		__entry->dev = dev->number;
	),
	TP_printk("dev=%d", __entry->dev)
);

#endif /* MMAPDEV_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
