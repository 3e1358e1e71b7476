-- The large set, made where it will live. Parameters stand in the temporary table demo_size (one row);
-- everything else follows from numbers, so the set is the same every time but for its dates.

-- step: helpers
-- An id of version 7 that says when, of what kind and which; rows of an order lie together in every index.
-- Declared stable, as extract is, for the planner to inline it.
create function pg_temp.demo_id(at timestamptz, kind int, n bigint) returns uuid language sql stable as $$
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(kind), 3, '0')
        || '8' || lpad(to_hex(n), 15, '0'))::uuid
$$;
create function pg_temp.demo_pick(n bigint, salt int, choices int) returns int language sql immutable as $$
    select (hashint8(n * 64 + salt) & 2147483647) % choices
$$;

-- step: products
create temporary table demo_product on commit drop as
select n, pg_temp.demo_id(began, 1, n) as id, 'SKU-' || lpad(n::text, 5, '0') as sku,
    (array['Violin', 'Viola', 'Cello', 'Flute', 'Oboe', 'Clarinet', 'Horn', 'Trumpet', 'Score', 'Stand'])
        [1 + pg_temp.demo_pick(n, 1, 10)] || ' no. ' || n as name,
    490 + pg_temp.demo_pick(n, 2, 2000) * 10 as price, n % 5 = 0 as backorderable
from demo_size, generate_series(1, products) n;
create unique index on demo_product (n);
analyze demo_product;
insert into product (id, sku, name, backorderable, weight_grams, version, created_at, updated_at)
select demo_product.id, sku, name, backorderable, 100 + pg_temp.demo_pick(n, 3, 9000), 1, began, began
from demo_product, demo_size;
insert into price (id, price_list_id, product_id, amount, updated_at)
select pg_temp.demo_id(began, 2, n), price_list.id, demo_product.id, price, began
from demo_product, demo_size, price_list;

-- step: customers
create temporary table demo_customer on commit drop as
select n, pg_temp.demo_id(began, 3, n) as id,
    (array['Clara', 'Ludwig', 'Fanny', 'Nadia', 'Heitor', 'Ethel', 'Edvard', 'Ruth', 'Amy', 'Igor'])
        [1 + pg_temp.demo_pick(n, 4, 10)] || ' '
    || (array['Wieck', 'Fuchs', 'Hensel', 'Petrov', 'Lobos', 'Smythe', 'Bartos', 'Sibell', 'Beacham', 'Reis'])
        [1 + pg_temp.demo_pick(n, 5, 10)] || ' ' || n as name,
    (array['Leipzig', 'Porto', 'Bergen', 'Boston', 'Prague', 'Vienna', 'Milan', 'Helsinki'])
        [1 + pg_temp.demo_pick(n, 6, 8)] as city
from demo_size, generate_series(1, customers) n;
create unique index on demo_customer (n);
analyze demo_customer;
insert into customer (id, name, email, address, version, created_at, updated_at)
select demo_customer.id, name, 'customer' || n || '@example.com',
    jsonb_build_object('name', name, 'line1', n || ' Opera Street', 'city', city), 1, began, began
from demo_customer, demo_size;

-- step: orders
create temporary table demo_order on commit drop as
with spread as (
    select n, demo_size.now, began + (demo_size.now - began) * (n / (orders + 1.0)) as placed_at,
        pg_temp.demo_pick(n, 7, 1000) as chance, pg_temp.demo_pick(n, 8, 100) as share,
        1 + pg_temp.demo_pick(n, 9, customers) as buyer, pg_temp.demo_pick(n, 10, 100) / 100.0 as pace
    from demo_size, generate_series(1, orders) n
), told as (
    select *,
        case
            when placed_at > now - interval '2 days' then case
                when chance < 100 then 'WAITING' when chance < 500 then 'OPEN'
                when chance < 600 then 'PICKING' else 'ON_ITS_WAY' end
            when placed_at > now - interval '6 days' then case
                when chance < 50 then 'OPEN' when chance < 600 then 'ON_ITS_WAY' else 'DELIVERED' end
            when chance < 25 then 'CANCELLED' when chance < 40 then 'EXPIRED' else 'DELIVERED'
        end as outcome
    from spread
), timed as (
    select *,
        case when outcome in ('WAITING', 'EXPIRED') then 'TRANSFER'
            when outcome = 'CANCELLED' or share < 50 then 'CARD' else 'EXTERNAL' end as method,
        placed_at + least(interval '1 day', (now - placed_at) * 0.4) * (0.2 + 0.8 * pace) as worked_at
    from told
), moved as (
    select *, worked_at + least(interval '12 hours', (now - worked_at) * 0.5) as shipped_at from timed
)
select n, outcome, method, buyer, placed_at, worked_at, shipped_at,
    shipped_at + least(interval '3 days', (now - shipped_at) * 0.8) * (0.3 + 0.7 * pace) as delivered_at,
    case when method <> 'EXTERNAL' then case when share < 40 then 'WEB' else 'SHOP' end
        when share < 85 then 'MARKET' else 'MARKET-US' end as channel,
    pg_temp.demo_pick(n, 11, 2) as place,
    pg_temp.demo_id(placed_at, 16, n) as id
from moved;
alter table demo_order add primary key (n);
analyze demo_order;

create temporary table demo_line on commit drop as
select demo_order.n, i, outcome, pg_temp.demo_id(placed_at, 17, demo_order.n * 8 + i) as id,
    demo_order.id as order_id, demo_product.id as product_id, sku, name, price, quantity
from demo_order
cross join lateral (
    select i, 1 + pg_temp.demo_pick(demo_order.n * 8 + i, 12, products) as product,
        1 + pg_temp.demo_pick(demo_order.n * 8 + i, 13, 3) as quantity
    from demo_size, generate_series(1, 3) i
) chosen
join demo_product on demo_product.n = chosen.product;
create index on demo_line (n);
analyze demo_line;

create temporary table demo_sale on commit drop as
select demo_order.*, channel.id as channel_id, channel.currency, channel.code as channel_code,
    channel.order_number_prefix || (1000 + demo_order.n) as number,
    served.location_id, demo_customer.id as customer_id, demo_customer.name as customer_name,
    demo_customer.city, subtotal, units, shipping, subtotal + shipping as total,
    outcome in ('CANCELLED', 'EXPIRED') as ended, outcome in ('ON_ITS_WAY', 'DELIVERED') as gone,
    case outcome when 'WAITING' then 'PENDING' when 'OPEN' then 'CONFIRMED' when 'DELIVERED' then 'COMPLETED'
        when 'PICKING' then 'PROCESSING' when 'ON_ITS_WAY' then 'PROCESSING' else outcome end as status
from demo_order
join channel on channel.code = demo_order.channel
join demo_customer on demo_customer.n = demo_order.buyer
join (
    select channel_id, location_id, row_number() over (partition by channel_id order by rank) - 1 as nth,
        count(*) over (partition by channel_id) as locations
    from channel_location
) served on served.channel_id = channel.id and served.nth = demo_order.place % served.locations
join (
    select n, sum(price * quantity) as subtotal, sum(quantity) as units,
        case when sum(price * quantity) < 5000 then 490 else 0 end as shipping
    from demo_line group by n
) summed on summed.n = demo_order.n;
alter table demo_sale add primary key (n);
analyze demo_sale;

-- step: stock
-- Imported history moves no stock: a level opens with what is there today.
create temporary table demo_level on commit drop as
select pg_temp.demo_id(began, 4, demo_product.n * 16 + row_number() over (partition by demo_product.n
        order by location.code)) as id,
    demo_product.id as product_id, location.id as location_id,
    500 + pg_temp.demo_pick(demo_product.n, 14, 1500) as sellable, 0 as allocated
from demo_product, demo_size, location;
update demo_level set allocated = claimed.quantity
from (
    select product_id, location_id, sum(quantity) as quantity
    from demo_line join demo_sale using (n) where demo_line.outcome in ('OPEN', 'PICKING') group by 1, 2
) claimed
where claimed.product_id = demo_level.product_id and claimed.location_id = demo_level.location_id;
create unique index on demo_level (product_id, location_id);
analyze demo_level;
insert into stock_level (id, product_id, location_id, sellable, allocated, version, created_at, updated_at)
select id, product_id, location_id, sellable, allocated, 1, began, began from demo_level, demo_size;
insert into stock_movement (id, stock_level_id, product_id, location_id, bucket, quantity, kind, reference,
    actor, occurred_at, created_at)
select (overlay(id::text placing '005' from 16 for 3))::uuid, id, product_id, location_id, 'SELLABLE', sellable,
    'OPENING_BALANCE', 'opening balance', 'demo', began, began
from demo_level, demo_size;

-- step: order rows
insert into orders (id, channel_id, number, status, payment_status, fulfillment_status, return_status, origin,
    customer_id, email, shipping_address, billing_address, release_gate, collected_by, currency, subtotal,
    shipping_total, original_total, current_total, received_total, version, placed_at, payment_due_at,
    confirmed_at, completed_at, cancelled_at, dispatched_at, created_at, updated_at)
select id, channel_id, number, status,
    case when outcome = 'WAITING' then 'PENDING' when outcome = 'CANCELLED' then 'VOIDED'
        when outcome = 'EXPIRED' then 'EXPIRED' when method = 'CARD' and not gone then 'AUTHORIZED'
        else 'PAID' end,
    case when ended then 'CANCELLED' when gone then 'FULFILLED' else 'UNFULFILLED' end, 'NONE', 'IMPORTED',
    customer_id, 'customer' || buyer || '@example.com', address, address,
    case method when 'CARD' then 'AUTHORIZED' when 'TRANSFER' then 'CAPTURED' else 'MARKETPLACE' end,
    case when method = 'EXTERNAL' then 'MARKETPLACE' else 'MERCHANT' end, currency, subtotal, shipping, total,
    case when ended then 0 else total end, case when gone or (method = 'EXTERNAL') then total else 0 end,
    (select count(*) from demo_step where demo_step.outcome = demo_sale.outcome
        and demo_step.method = demo_sale.method),
    placed_at, case when outcome = 'WAITING' then demo_size.now + interval '3 days' end,
    case when outcome not in ('WAITING', 'EXPIRED') then placed_at end,
    case when outcome = 'DELIVERED' then delivered_at end, case when ended then worked_at end,
    case when gone then shipped_at end, placed_at,
    case when outcome = 'DELIVERED' then delivered_at when gone then shipped_at when ended then worked_at
        else placed_at end
from demo_sale, demo_size,
    lateral (select jsonb_build_object('name', customer_name, 'line1', buyer || ' Opera Street', 'city', city)
        as address) given
order by n;

-- step: order lines
insert into order_line (id, order_id, line_number, product_id, sku, name, quantity, quantity_cancelled,
    quantity_allocated, quantity_fulfilled, currency, unit_price, net_total, gross_total, created_at)
select demo_line.id, order_id, i, product_id, sku, demo_line.name, quantity,
    case when ended then quantity else 0 end,
    case when demo_sale.outcome in ('OPEN', 'PICKING') then quantity else 0 end,
    case when gone then quantity else 0 end, currency, price, price * quantity, price * quantity, placed_at
from demo_line join demo_sale using (n)
order by n, i;
insert into order_adjustment (id, order_id, kind, label, currency, amount, created_at)
select pg_temp.demo_id(placed_at, 18, n), id, 'SHIPPING', 'Parcel', currency, shipping, placed_at
from demo_sale where shipping > 0 order by n;
insert into external_id (id, entity_kind, entity_id, system, channel_id, external_id, created_at)
select pg_temp.demo_id(placed_at, 19, n), 'ORDER', id, 'marketplace', channel_id, 'MP-' || n, placed_at
from demo_sale where method = 'EXTERNAL' order by n;

-- step: payments
insert into payment (id, order_id, method, provider, status, collected_by, currency, amount, authorized_amount,
    captured_amount, voided_amount, authorization_expires_at, created_at, updated_at)
select pg_temp.demo_id(placed_at, 20, n), id,
    case method when 'TRANSFER' then 'BANK_TRANSFER' else method end,
    case method when 'TRANSFER' then 'manual' when 'CARD' then 'sandbox' else 'external' end,
    case when outcome = 'WAITING' then 'PENDING' when outcome = 'EXPIRED' then 'EXPIRED'
        when outcome = 'CANCELLED' then 'VOIDED' when method = 'CARD' and not gone then 'AUTHORIZED'
        else 'CAPTURED' end,
    case when method = 'EXTERNAL' then 'MARKETPLACE' else 'MERCHANT' end, currency, total,
    case when method = 'TRANSFER' then 0 else total end,
    case when method = 'EXTERNAL' or gone then total else 0 end,
    case when outcome = 'CANCELLED' then total else 0 end,
    case when method = 'CARD' and not gone and not ended then demo_size.now + interval '6 days' end,
    placed_at, case when gone then shipped_at else placed_at end
from demo_sale, demo_size order by n;
insert into payment_transaction (id, payment_id, order_id, kind, status, currency, amount, provider_reference,
    failure, settled_at, created_at, updated_at)
select pg_temp.demo_id(placed_at, 21, n * 2 + nth), pg_temp.demo_id(placed_at, 20, n), id, kind, settled,
    currency, total, case when method = 'CARD' then 'demo-' || n end,
    case when settled = 'FAILED' then 'Nothing came in time.' end,
    case when settled <> 'PENDING' then at end, at, at
from demo_sale, lateral (
    select 0 as nth, case when method = 'CARD' then 'AUTHORIZATION' else 'SALE' end as kind,
        case outcome when 'WAITING' then 'PENDING' when 'EXPIRED' then 'FAILED' else 'SUCCEEDED' end as settled,
        placed_at as at
    union all
    select 1, case when gone then 'CAPTURE' else 'VOID' end, 'SUCCEEDED',
        case when gone then shipped_at else worked_at end
    where method = 'CARD' and (gone or ended)
) asked
order by n;

-- step: fulfillment orders
insert into fulfillment_order (id, order_id, location_id, status, request_status, created_at, updated_at)
select pg_temp.demo_id(placed_at, 22, n), id, location_id,
    case when gone then 'CLOSED' when ended then 'CANCELLED' when outcome = 'PICKING' then 'IN_PROGRESS'
        else 'OPEN' end,
    case when gone or ended then 'CLOSED' when outcome = 'PICKING' then 'ACCEPTED' else 'SUBMITTED' end,
    placed_at, case when gone then shipped_at when outcome = 'OPEN' then placed_at else worked_at end
from demo_sale where outcome not in ('WAITING', 'EXPIRED') order by n;
insert into fulfillment_order_line (id, fulfillment_order_id, order_line_id, product_id, quantity,
    quantity_picked, quantity_shipped, quantity_cancelled)
select pg_temp.demo_id(placed_at, 23, n * 8 + i), pg_temp.demo_id(placed_at, 22, n), demo_line.id, product_id,
    quantity, case when gone then quantity else 0 end, case when gone then quantity else 0 end,
    case when ended then quantity else 0 end
from demo_line join demo_sale using (n)
where demo_sale.outcome not in ('WAITING', 'EXPIRED') order by n, i;
insert into allocation (id, order_id, order_line_id, stock_level_id, location_id, quantity, created_at)
select pg_temp.demo_id(placed_at, 24, n * 8 + i), order_id, demo_line.id, demo_level.id, location_id, quantity,
    placed_at
from demo_line join demo_sale using (n) join demo_level using (product_id, location_id)
where demo_sale.outcome in ('OPEN', 'PICKING') order by n, i;

-- step: shipments
insert into shipment (id, order_id, fulfillment_order_id, location_id, status, delivery_status, carrier,
    shipped_at, delivered_at, created_at, updated_at)
select pg_temp.demo_id(worked_at, 25, n), id, pg_temp.demo_id(placed_at, 22, n), location_id,
    case when gone then 'SHIPPED' else 'PICKING' end,
    case outcome when 'DELIVERED' then 'DELIVERED' when 'ON_ITS_WAY' then 'IN_TRANSIT' end,
    (array['DHL', 'UPS', 'CTT'])[1 + n % 3], case when gone then shipped_at end,
    case when outcome = 'DELIVERED' then delivered_at end, worked_at,
    case when outcome = 'DELIVERED' then delivered_at when gone then shipped_at else worked_at end
from demo_sale where outcome in ('PICKING', 'ON_ITS_WAY', 'DELIVERED') order by n;
insert into shipment_line (id, shipment_id, order_line_id, fulfillment_order_line_id, product_id, quantity)
select pg_temp.demo_id(worked_at, 26, n * 8 + i), pg_temp.demo_id(worked_at, 25, n), demo_line.id,
    pg_temp.demo_id(placed_at, 23, n * 8 + i), product_id, quantity
from demo_line join demo_sale using (n)
where demo_sale.outcome in ('PICKING', 'ON_ITS_WAY', 'DELIVERED') order by n, i;
insert into package (id, shipment_id, carrier, tracking_number, weight_grams, delivery_status, delivered_at,
    created_at, updated_at)
select pg_temp.demo_id(shipped_at, 27, n), pg_temp.demo_id(worked_at, 25, n), (array['DHL', 'UPS', 'CTT'])[1 + n % 3],
    '1Z' || lpad(n::text, 10, '0'), 200 + pg_temp.demo_pick(n, 15, 9000),
    case outcome when 'DELIVERED' then 'DELIVERED' else 'IN_TRANSIT' end,
    case when outcome = 'DELIVERED' then delivered_at end, shipped_at,
    case when outcome = 'DELIVERED' then delivered_at else shipped_at end
from demo_sale where gone order by n;
insert into carrier_event (id, package_id, partner_event_id, kind, occurred_at, place, created_at)
select pg_temp.demo_id(at, 28, n * 2 + nth), pg_temp.demo_id(shipped_at, 27, n), lower(kind) || '-' || n, kind,
    at, city, at
from demo_sale, lateral (
    select 0 as nth, 'IN_TRANSIT' as kind, shipped_at as at
    union all
    select 1, 'DELIVERED', delivered_at where outcome = 'DELIVERED'
) report
where gone order by n;

-- step: events of master data
insert into event_log (position, event_id, type, aggregate_kind, aggregate_id, version, subject_kind, subject_id,
    customer_id, location_id, product_id, details, origin, actor, occurred_at, created_at)
select relay.position + row_number() over (order by place, id), pg_temp.demo_id(began, 5 + place, nth), type,
    kind, id, 1, kind, id, customer_id, location_id, product_id, details, 'IMPORTED', 'demo', began, began
from relay, demo_size, (
    select 0 as place, n as nth, 'PRODUCT_CREATED' as type, 'PRODUCT' as kind, id, null::uuid as customer_id,
        null::uuid as location_id, id as product_id, jsonb_build_object('sku', sku) as details
    from demo_product
    union all
    select 1, n, 'CUSTOMER_CREATED', 'CUSTOMER', id, id, null, null, '{}' from demo_customer
    union all
    select 2, row_number() over (order by id), 'STOCK_CHANGED', 'STOCK_LEVEL', id, null, location_id, product_id,
        jsonb_build_object('change', jsonb_build_object('sellable', sellable, 'allocated', allocated), 'sellable',
            sellable, 'allocated', allocated, 'reserved', 0, 'backordered', 0, 'available', sellable - allocated)
    from demo_level
) made;
update relay set position = (select coalesce(max(position), 0) from event_log);

-- step: events of orders
-- Positions follow the time at which things happened, as if the log had been written all along.
insert into event_log (position, event_id, type, aggregate_kind, aggregate_id, version, subject_kind, subject_id,
    from_status, to_status, order_id, channel_id, customer_id, location_id, details, origin, actor, occurred_at,
    created_at)
select relay.position + row_number() over (order by at, n, seq), pg_temp.demo_id(at, 32 + seq, n), type, 'ORDER',
    id, seq, subject,
    case subject when 'ORDER' then id when 'PAYMENT' then pg_temp.demo_id(placed_at, 20, n)
        when 'FULFILLMENT_ORDER' then pg_temp.demo_id(placed_at, 22, n)
        else pg_temp.demo_id(worked_at, 25, n) end,
    from_status, to_status, id, channel_id, customer_id,
    case when subject in ('FULFILLMENT_ORDER', 'SHIPMENT') then location_id end,
    case when seq = 1 then jsonb_build_object('units', units, 'total', total, 'currency', currency)
        when type = 'DELIVERY_UPDATED' then '{"to": "DELIVERED"}'
        else '{}' end,
    'IMPORTED', 'demo', at, at
from relay, (
    select demo_sale.*, seq, type, subject, from_status, to_status,
        case moment when 'placed' then placed_at when 'worked' then worked_at when 'shipped' then shipped_at
            else delivered_at end as at
    from demo_sale join demo_step using (outcome, method)
) happened;
update relay set position = (select coalesce(max(position), 0) from event_log);

-- step: order numbers and readers
select setval(format('order_number_%s', replace(channel.id::text, '-', ''))::regclass, 1000 + orders)
from channel, demo_size;
-- Nothing of this history is anybody's job: those who make jobs of events begin after it.
insert into consumer (name, position) select 'jobs', position from relay
on conflict (name) do update set position = excluded.position;

-- step: statistics
analyze;
