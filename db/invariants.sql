-- What must hold at every commit. Each query returns the rows that break it: none, ever.
-- `oms check` runs them all in one snapshot; tests run them after every scenario.

-- name: on hand is the sum of movements, per bucket
select level.id, bucket.name, bucket.quantity, coalesce(ledger.quantity, 0) as moved
from stock_level level
cross join lateral (values
    ('SELLABLE', level.sellable), ('DAMAGED', level.damaged),
    ('QUARANTINE', level.quarantine), ('DISPLAY', level.display)) as bucket(name, quantity)
left join (
    select stock_level_id, bucket, sum(quantity) as quantity from stock_movement group by 1, 2
) ledger on ledger.stock_level_id = level.id and ledger.bucket = bucket.name
where bucket.quantity <> coalesce(ledger.quantity, 0);

-- name: sellable covers what is promised
select id, sellable, allocated, reserved from stock_level
where sellable < allocated + reserved or allocated < 0 or reserved < 0;

-- name: allocated is the sum of allocations
select level.id, level.allocated, coalesce(claim.quantity, 0) as claimed
from stock_level level
left join (select stock_level_id, sum(quantity) as quantity from allocation group by 1) claim
    on claim.stock_level_id = level.id
where level.allocated <> coalesce(claim.quantity, 0);

-- name: reserved is the sum of active reservations
select level.id, level.reserved, coalesce(claim.quantity, 0) as claimed
from stock_level level
left join (
    select line.stock_level_id, sum(line.quantity) as quantity
    from reservation_line line join reservation on reservation.id = line.reservation_id
    where reservation.status = 'ACTIVE' group by 1
) claim on claim.stock_level_id = level.id
where level.reserved <> coalesce(claim.quantity, 0);

-- name: backordered is the sum of backorders
select level.id, level.backordered, coalesce(claim.quantity, 0) as claimed
from stock_level level
left join (select stock_level_id, sum(quantity) as quantity from backorder group by 1) claim
    on claim.stock_level_id = level.id
where level.backordered <> coalesce(claim.quantity, 0);

-- name: a line's allocated and backordered units are its claims
select line.id, line.quantity_allocated, line.quantity_backordered
from order_line line
left join (select order_line_id, sum(quantity) as quantity from allocation group by 1) a
    on a.order_line_id = line.id
left join (select order_line_id, sum(quantity) as quantity from backorder group by 1) b
    on b.order_line_id = line.id
where line.quantity_allocated <> coalesce(a.quantity, 0)
   or line.quantity_backordered <> coalesce(b.quantity, 0);

-- name: a line's units are never more than were ordered, and none is negative
select id from order_line
where quantity_cancelled + quantity_allocated + quantity_backordered + quantity_fulfilled > quantity
   or least(quantity_cancelled, quantity_allocated, quantity_backordered, quantity_fulfilled) < 0;

-- name: what a row repeats of the row it refers to is the same there
select 'allocation' as kind, copy.id from allocation copy
join order_line line on line.id = copy.order_line_id
join stock_level level on level.id = copy.stock_level_id
where copy.order_id <> line.order_id or copy.location_id <> level.location_id
union all
select 'fulfillment_order_line', copy.id from fulfillment_order_line copy
join order_line line on line.id = copy.order_line_id where copy.product_id <> line.product_id
union all
select 'shipment_line', copy.id from shipment_line copy
join order_line line on line.id = copy.order_line_id where copy.product_id <> line.product_id
union all
select 'payment_transaction', copy.id from payment_transaction copy
join payment on payment.id = copy.payment_id where copy.order_id <> payment.order_id;

-- name: an ended order holds no stock
select line.id, orders.status
from order_line line join orders on orders.id = line.order_id
where orders.status in ('CANCELLED', 'EXPIRED', 'COMPLETED')
  and (line.quantity_allocated <> 0 or line.quantity_backordered <> 0);

-- name: a line's fulfilled units are what left in shipments
select line.id, line.quantity_fulfilled, coalesce(sent.quantity, 0) as sent
from order_line line join orders on orders.id = line.order_id
left join (
    select shipment_line.order_line_id, sum(shipment_line.quantity) as quantity
    from shipment_line join shipment on shipment.id = shipment_line.shipment_id
    where shipment.status in ('SHIPPED', 'COLLECTED') group by 1
) sent on sent.order_line_id = line.id
where line.quantity_fulfilled <> coalesce(sent.quantity, 0);

-- name: inspected units were received
select id from return_line where quantity_accepted + quantity_rejected > quantity_received;

-- name: a line's net and tax make its gross
select id from order_line where net_total + tax_total <> gross_total;

-- name: an order's original total is the sum of its lines, shipping, fees and the taxes on them
select orders.id, orders.original_total, coalesce(line.gross, 0) + orders.shipping_total + orders.fee_total
    + coalesce(tax.amount, 0) as summed
from orders
left join (select order_id, sum(gross_total) as gross from order_line group by 1) line
    on line.order_id = orders.id
left join (
    select order_id, sum(amount) as amount from order_tax_line
    where order_line_id is null and not included group by 1
) tax on tax.order_id = orders.id
where orders.status <> 'DRAFT'
  and orders.original_total <> coalesce(line.gross, 0) + orders.shipping_total + orders.fee_total
    + coalesce(tax.amount, 0);

-- name: refunds, pending included, are within what each payment received
select payment.id, payment.captured_amount, refund.amount
from payment join (
    select payment_id, sum(amount) as amount from refund where status in ('PENDING', 'SUCCEEDED') group by 1
) refund on refund.payment_id = payment.id
where refund.amount > payment.captured_amount;

-- name: a payment's sums are those of its transactions
select payment.id
from payment left join (
    select payment_id,
        coalesce(sum(amount) filter (where kind in ('CAPTURE', 'SALE')), 0) as captured,
        coalesce(sum(amount) filter (where kind = 'REFUND'), 0) as refunded,
        coalesce(sum(amount) filter (where kind = 'CHARGEBACK'), 0) as charged_back
    from payment_transaction where status = 'SUCCEEDED' group by 1
) settled on settled.payment_id = payment.id
where payment.captured_amount <> coalesce(settled.captured, 0)
   or payment.refunded_amount <> coalesce(settled.refunded, 0)
   or payment.charged_back_amount <> coalesce(settled.charged_back, 0);

-- name: an order received what its payments captured
select orders.id, orders.received_total, coalesce(paid.captured, 0) as captured
from orders left join (
    select order_id, sum(captured_amount) as captured, sum(refunded_amount) as refunded,
        sum(charged_back_amount) as charged_back
    from payment group by 1
) paid on paid.order_id = orders.id
where orders.received_total <> coalesce(paid.captured, 0)
   or orders.refunded_total <> coalesce(paid.refunded, 0)
   or orders.charged_back_total <> coalesce(paid.charged_back, 0);

-- name: all money of an order is in one currency
select orders.id from orders
where exists (select from payment where payment.order_id = orders.id and payment.currency <> orders.currency)
   or exists (select from order_line where order_line.order_id = orders.id and order_line.currency <> orders.currency)
   or exists (select from refund where refund.order_id = orders.id and refund.currency <> orders.currency)
   or exists (
       select from payment_transaction
       where payment_transaction.order_id = orders.id and payment_transaction.currency <> orders.currency)
   or exists (
       select from order_adjustment
       where order_adjustment.order_id = orders.id and order_adjustment.currency <> orders.currency);

-- name: an order's status is that of its last status event
select orders.id, orders.status, last.to_status
from orders
left join lateral (
    select to_status from event
    where event.order_id = orders.id and event.subject_kind = 'ORDER' and event.to_status is not null
    order by version desc limit 1
) last on true
where orders.status is distinct from last.to_status;

-- name: events follow each other by the status they left
select chained.subject_id, chained.version, chained.previous, chained.from_status
from (
    select subject_id, version, from_status, origin,
        lag(to_status) over (partition by subject_kind, subject_id order by version) as previous
    from event where to_status is not null
) chained
where chained.previous is not null and chained.previous is distinct from chained.from_status
  and chained.origin <> 'CORRECTED';

-- name: versions are dense per aggregate
select aggregate_id, count(*), min(version), max(version)
from event group by aggregate_id
having count(*) <> max(version) - min(version) + 1 or count(distinct version) <> count(*)
   -- Old changes of stock levels are forgotten, below the horizon and from the first one on.
   or (min(version) <> 1 and not (
       max(aggregate_kind) = 'STOCK_LEVEL' and (select horizon > 0 from relay)));

-- name: an order's version is that of its last event
select orders.id, orders.version, coalesce(last.version, 0)
from orders left join (
    select aggregate_id, max(version) as version from event where aggregate_kind = 'ORDER' group by 1
) last on last.aggregate_id = orders.id
where orders.version <> coalesce(last.version, 0);

-- name: every event is in the outbox or the log, never in both
select outbox.event_id from outbox join event_log on event_log.event_id = outbox.event_id;

-- name: positions are dense
select relay.position, count(event_log.position)
from relay left join event_log on event_log.position > relay.horizon
group by relay.position, relay.horizon
having count(event_log.position) <> relay.position - relay.horizon
    or coalesce(max(event_log.position), relay.position) <> relay.position;

-- name: a finished idempotency key has its outcome
select account, key from idempotency_key where finished_at is null
   -- Work of our own, whose keys we make, may have no outcome.
   or (outcome is null and key not like 'made-%');

-- name: no live shipment on a cancelled order
select shipment.id from shipment join orders on orders.id = shipment.order_id
where orders.status in ('CANCELLED', 'EXPIRED')
  and shipment.status in ('PENDING', 'PICKING', 'PACKED', 'READY_FOR_PICKUP');

-- name: no open fulfillment order on an ended order
select fulfillment_order.id from fulfillment_order join orders on orders.id = fulfillment_order.order_id
where orders.status in ('CANCELLED', 'EXPIRED', 'COMPLETED')
  and fulfillment_order.status in ('SCHEDULED', 'OPEN', 'IN_PROGRESS', 'ON_HOLD');

-- name: on hold means an unreleased hold
select orders.id, orders.on_hold from orders
where orders.on_hold <> exists (
    select 1 from order_hold where order_hold.order_id = orders.id and order_hold.released_at is null);

-- name: shipped units of a fulfillment order line are its shipments' units
select line.id, line.quantity_shipped, coalesce(sent.quantity, 0) as sent
from fulfillment_order_line line
left join (
    select shipment_line.fulfillment_order_line_id, sum(shipment_line.quantity) as quantity
    from shipment_line join shipment on shipment.id = shipment_line.shipment_id
    where shipment.status in ('SHIPPED', 'COLLECTED') group by 1
) sent on sent.fulfillment_order_line_id = line.id
where line.quantity_shipped <> coalesce(sent.quantity, 0);

-- name: an order is credited what its return lines give back
select orders.id, orders.credited_total, coalesce(given.amount, 0) as given_back
from orders left join (
    select returns.order_id, sum(return_line.refund_amount) as amount
    from return_line join returns on returns.id = return_line.return_id
    where returns.order_id is not null group by 1
) given on given.order_id = orders.id
where orders.credited_total <> coalesce(given.amount, 0);

-- name: a line's returned units are those accepted of it, credited as often
select line.id, line.quantity_returned, coalesce(back.units, 0) as accepted, line.refunded_total,
    coalesce(back.amount, 0) as credited
from order_line line left join (
    select order_line_id, sum(quantity_accepted) as units, sum(refund_amount) as amount
    from return_line where order_line_id is not null group by 1
) back on back.order_line_id = line.id
where line.quantity_returned <> coalesce(back.units, 0)
   or line.refunded_total <> coalesce(back.amount, 0);

-- name: inspections tell every unit that was judged
select line.id, line.quantity_accepted, line.quantity_rejected, told.accepted, told.rejected
from return_line line left join (
    select judged ->> 'returnLineId' as line_id, sum((judged ->> 'accepted')::int) as accepted,
        sum((judged ->> 'rejected')::int) as rejected
    from event cross join lateral jsonb_array_elements(event.details -> 'lines') judged
    where event.type = 'RETURN_INSPECTED' group by 1
) told on told.line_id = line.id::text
where line.quantity_accepted <> coalesce(told.accepted, 0)
   or line.quantity_rejected <> coalesce(told.rejected, 0);

-- name: accepted units whose disposition enters stock entered it
select coalesce(judged.reference, entered.reference), judged.units, entered.units as entered
from (
    select 'ret_' || event.subject_id as reference, sum((line ->> 'accepted')::int) as units
    from event cross join lateral jsonb_array_elements(event.details -> 'lines') line
    where event.type = 'RETURN_INSPECTED' and line ->> 'disposition' in ('RESTOCK', 'DAMAGED', 'QUARANTINE')
    group by 1
) judged
full join (
    select reference, sum(quantity) as units from stock_movement where kind = 'RETURN_RECEIPT' group by 1
) entered on entered.reference = judged.reference
where coalesce(judged.units, 0) <> coalesce(entered.units, 0);

-- name: the status of every document is that of its last status event
select document.kind, document.id, document.status, last.to_status
from (
    select 'PAYMENT' as kind, id, status from payment
    union all select 'REFUND', id, status from refund
    union all select 'SHIPMENT', id, status from shipment
    union all select 'FULFILLMENT_ORDER', id, status from fulfillment_order
    union all select 'RETURN', id, status from returns
    union all select 'RESERVATION', id, status from reservation
) document
left join (
    select distinct on (subject_kind, subject_id) subject_kind, subject_id, to_status
    from event where to_status is not null
    order by subject_kind, subject_id, version desc
) last on last.subject_kind = document.kind and last.subject_id = document.id
where document.status is distinct from last.to_status;
